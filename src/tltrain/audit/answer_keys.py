"""Names of the fields by which tools answer, and words in the names of tools.

Keys are compared folded: lower case, letters and digits only, so that `errorMessage`, `error_message` and
`Error-Message` are one.
"""

import re
from functools import lru_cache


def word_set(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


PLURAL_ERROR_KEYS = word_set(
    "errors exceptions failures faults errormessages validationerrors fielderrors formerrors errorlist"
)
ERROR_CODE_KEYS = word_set("errorcode errcode errno errornumber errornum faultcode")
ERROR_KEYS = (
    PLURAL_ERROR_KEYS
    | ERROR_CODE_KEYS
    | word_set(
        "error err errmsg errmessage errormsg errormessage errortext errordescription errordetail errordetails "
        "errorinfo errorreason errortype errorname invalidparams invalidparameters invalidfields missingparams "
        "missingparameters missingfields nonfielderrors erro fehler erreur errore fout ошибка 错误 "
        "exception exceptionmessage exceptiontype fault faultstring failurereason failuremessage failreason "
        "failedreason failurecode functionerror apierror errorresponse"
    )
)
PLURAL_ENDS = ("errors", "exceptions")
"""Ends of keys that hold errors where nothing but envelope stands beside them: `userErrors`."""
ERROR_ENDS = ("failure", *PLURAL_ENDS)
TELLING_ENDS = (*ERROR_ENDS, "status")
"""Ends of keys that can hold a signal."""
MESSAGE_KEYS = word_set(
    "message msg detail details reason info notice statusmessage statustext resultmsg resultmessage hint "
    "mensaje mensagem nachricht meldung motivo grund raison"
)
STATUS_KEYS = word_set("status statuscode httpstatus httpstatuscode httpcode responsecode respcode cod responsestatus")
SUCCESS_KEYS = word_set(
    "success ok succeeded successful issuccess issuccessful wassuccessful succeed exito éxito exitoso sucesso erfolg "
    "erfolgreich succes succès"
)
FAILURE_KEYS = word_set("iserror haserror haserrors error errors failed isfailed failure timedout")
EXIT_KEYS = word_set("exitcode returncode exitstatus exit rc")
ANSWER_KEYS = word_set("response result output observation toolresult returnvalue responsebody apiresponse")
"""Fields that hold the tool's own answer, whatever stands beside them."""
PAYLOAD_KEYS = ANSWER_KEYS | word_set(
    "data content text value answer body payload results reply return stdout stderr meta metadata status header head "
    "responseheader items"
)
"""Fields that hold the answer where nothing but envelope stands beside them."""
CONTENT_KEYS = (
    "title",
    "name",
    "text",
    "content",
    "contents",
    "query",
    "summary",
    "headline",
    "snippet",
    "description",
    "body",
)
"""Ends of keys that hold what somebody wrote, not what the service says."""
ENVELOPE_KEYS = (
    ERROR_KEYS
    | MESSAGE_KEYS
    | STATUS_KEYS
    | SUCCESS_KEYS
    | FAILURE_KEYS
    | EXIT_KEYS
    | PAYLOAD_KEYS
    | word_set(
        "code type title instance jsonrpc timestamp time date path requestid traceid correlationid method url "
        "documentationurl docurl docs help helpurl moreinfo retryafter severity level version apiversion stack "
        "stacktrace trace cause innererror extensions locations param target category outcome state tool toolname "
        "function action resource resourcetype resultcode duration elapsed infocode codigo código debugid"
    )
)
INSPECTING = word_set(
    "lint validate validator check checker analyze analyse analyzer compile test tests log logs error errors exception "
    "exceptions diagnose diagnostics scan monitor audit review inspect debug verify spellcheck grammar health"
)
"""Words of tools whose very result may be a list of errors."""
ASKING = word_set(
    "is has check can are does verify validate test compare exists contains should get list search find fetch read "
    "show lookup query retrieve status describe view"
)
"""Words of tools that ask about the world, so that `false` and `failed` are answers."""


OF_AN_ENTITY = word_set(
    "failurereason failuremessage failreason failedreason failurecode errorcode errormessage errorreason declinecode"
)
"""Fields in which a payment, an order or a message that was looked up says what became of itself."""
IDENTITY_ENDS = ("id", "no", "number", "reference", "uuid")
PROBING = word_set("status check monitor ping uptime health probe headers crawl sites links")
"""Words of tools that ask how a site answers, so that its status is the answer."""
TYPE_KEYS = word_set("type name class exceptiontype")
OUTCOME_KEYS = word_set("status state result outcome level responsestatus statustext")
TELLING_KEYS = (
    ERROR_KEYS
    | STATUS_KEYS
    | SUCCESS_KEYS
    | FAILURE_KEYS
    | EXIT_KEYS
    | TYPE_KEYS
    | OUTCOME_KEYS
    | {"code", "resultcode"}
)
"""Keys that can hold a signal, beside those of the ends that `find_failures` knows."""


STATE_KEYS = TYPE_KEYS | OUTCOME_KEYS
"""Keys of which only some words are signals."""


@lru_cache(maxsize=4096)
def fold(key: str) -> str:
    """A key in lower case, letters and digits only, without a prefix such as `odata.` or `soap:`."""
    return re.sub(r"[\W_]", "", re.split(r"[.:]", key.strip())[-1].lower())
