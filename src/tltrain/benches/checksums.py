"""Checksums of the public test sets, as their sources publish them: SHA-256 of each file's bytes."""

CHECKSUMS: dict[str, tuple[str, ...]] = {
    "toolalpaca/eval_real.json": (
        "860a974d44e9691773ac36e21c18707d21eab098cbccf6bd29479d76b91241d7",
        "86d1392c786060e00dd6feaa963d8a87660e3042380b0abbd8ccad2b931e2778",
    ),
    "rotbench/First_Turn/clean.json": ("a367dc165c0bb09f4002c89ab9a6884ef2383547d8e6d21511c7c0153e7ff1cd",),
    "rotbench/First_Turn/heavy.json": ("061ffc421a9fa8b51abacfeab6880d42b86661d529e048f0cb09f2bee527533b",),
    "rotbench/First_Turn/medium.json": ("ad73ad3cad2ecd76bd2f0a2c7fb6e8dd3f599d20b6177b07ab5ad5fe6330e4be",),
    "rotbench/First_Turn/slight.json": ("a47aee08eec1d6b9519c227829a076ce05e2737455e0d7589921460f8cbe9825",),
    "rotbench/First_Turn/union.json": ("61ffacb834ebaac9aa317eb45e1e8b8c3f2c659696139b9dd3b7272491cff911",),
    "bfcl/BFCL_v4_irrelevance.json": ("2b6ed4c2e992cdcf5f1678a701851f944bef7550ee026ed1ddb89efed5be01a6",),
    "bfcl/BFCL_v4_live_irrelevance.json": ("6559fda2beaceb609a2cd2e504c65b4a56cb448e1ef88fddfd199e163d163349",),
    "bfcl/BFCL_v4_live_multiple.json": ("fd8ccfad4d911420d0e3341dbe2fff77d1d341da934248b9bb2bda24ab3a10c8",),
    "bfcl/BFCL_v4_live_parallel.json": ("6c26e9fdc3350cf596e6d1ea9c179cbff834761bccf562f4141ed29a839ca421",),
    "bfcl/BFCL_v4_live_parallel_multiple.json": ("21d4b9319c1faac431e22757b367ea28917fe467364c3a4b17f16ec06d4f6e79",),
    "bfcl/BFCL_v4_live_relevance.json": ("e03f9e241657a137cba48a89ee12f47bf3fcb7e4f6274263e9c699a0c974203a",),
    "bfcl/BFCL_v4_live_simple.json": ("1af2ac87dca47556db7b7e37e51e28b459a38b594e3c7b3c792b4903598ca0c4",),
    "bfcl/BFCL_v4_multi_turn_base.json": ("1a21a995d06fd6f20ba55de7bced30ef953ec35e998f502ec2ecf4d66ef1c43a",),
    "bfcl/BFCL_v4_multi_turn_long_context.json": ("78c3268c5cc8e97c0f4ec6c811b3b9a2bba14323b1830b7a874b06d822749324",),
    "bfcl/BFCL_v4_multi_turn_miss_func.json": ("87d28ce10e37d864b72de85d5732eef2a867b241d6c1c99b4ae682c9e3ea921c",),
    "bfcl/BFCL_v4_multi_turn_miss_param.json": ("f0c66dda3795f5f53e3e1c0cc8ba0246b6761c8f58bdba8317203bf451ab8838",),
    "bfcl/multi_turn_func_doc/gorilla_file_system.json": (
        "c4c1b741c71e2a17c97a5dc9c4a91d89978c4eaece56494d14272d5df6c650e9",
    ),
    "bfcl/multi_turn_func_doc/math_api.json": ("83fa31708c89442bdcf12ac4dfbe3be8663ec9183a1b1524a9fda98164bc7e0b",),
    "bfcl/multi_turn_func_doc/message_api.json": ("4d58ea933a5d2b280d7a52366617fb47fecd333d7b0e08e724db6fa12fb5f847",),
    "bfcl/multi_turn_func_doc/posting_api.json": ("87f9fc404a06e4107d7c366f1399c596440e84c16cb119faf374b2f532d86e8b",),
    "bfcl/multi_turn_func_doc/ticket_api.json": ("31324e0380782664fe82ba05bd23517808ad55692b45a5fe7c3d4d395fe4f0f8",),
    "bfcl/multi_turn_func_doc/trading_bot.json": ("1a7933fd8f0cb8fbec38aeae05cb8c24132747cad4904fe1c13ac3d01fc22c2d",),
    "bfcl/multi_turn_func_doc/travel_booking.json": (
        "f17b950c13adddf41d0848077df58788252e4c2e7cad5cfa71c8c4bf04f57b26",
    ),
    "bfcl/multi_turn_func_doc/vehicle_control.json": (
        "0c8a66292844874ef7b168f343bc394d8615d2d9e1f4387999a9ee23011eac78",
    ),
    "bfcl/possible_answer/BFCL_v4_multi_turn_base.json": (
        "1fee67823b317571649177dd89d63969feaae4e810cc7448ee55ba797fb7c8fc",
    ),
    "bfcl/possible_answer/BFCL_v4_multi_turn_long_context.json": (
        "e82aa0e839c39d23c64a05834f7ae024d7c9738ec21738ecee78dc876e3d0d18",
    ),
    "bfcl/possible_answer/BFCL_v4_multi_turn_miss_func.json": (
        "69e679b806d1c871b05393a4b95583bb973248e5b8d96c2d7f4ca05e29fc32e6",
    ),
    "bfcl/possible_answer/BFCL_v4_multi_turn_miss_param.json": (
        "59c442901779e2c31c33abcd566d032e03736e5ad8069de2fe05489873046ecf",
    ),
    "bfcl/BFCL_v4_multiple.json": ("aef168155ebd74b7ac2401198b201343bc7d16d7a3d7e0d4e6d8ee82c6969b2a",),
    "bfcl/BFCL_v4_parallel.json": ("19f51a82eff42e5d62541aa500115a056eb78f437c2ba1f10415fd7c8e5dda84",),
    "bfcl/BFCL_v4_parallel_multiple.json": ("8863ea8433239f55c5f016154cf0830853c89f693c6ea270396a2fa121960579",),
    "bfcl/BFCL_v4_simple_python.json": ("82dd63ba502eb2520c6b5d1d9a5c4b590e03ff261565175561f6228a367d1991",),
    "bfcl/possible_answer/BFCL_v4_live_multiple.json": (
        "97e90d59c5bd76c55a2920ce93e5566e9046307d3f558578f085f9d3a56c3084",
    ),
    "bfcl/possible_answer/BFCL_v4_live_parallel.json": (
        "8a9f189ff0e832ebbbbdade1fd95a7dbcc67406e9177df3f0aad76f59ab00350",
    ),
    "bfcl/possible_answer/BFCL_v4_live_parallel_multiple.json": (
        "f5b5f360556c5feb51db46fb9f56ee4b304f4b45b161599bbb14161c98a2873f",
    ),
    "bfcl/possible_answer/BFCL_v4_live_simple.json": (
        "fec9cfa9744a936f9126981e85a2023da1e63e273eafebc81923a1162fad70ce",
    ),
    "bfcl/possible_answer/BFCL_v4_multiple.json": ("244e00ce9395df948bcafc7bee64e8f9c87ef70887587d83cae45b13699f3047",),
    "bfcl/possible_answer/BFCL_v4_parallel.json": ("8a6aa19c1adddc6a5a2f7e40f9dbf30cc7e95815e7b830c90589ab318229e0f0",),
    "bfcl/possible_answer/BFCL_v4_parallel_multiple.json": (
        "5ebf24f458c1f16300c05505d83d6f0a1b68b79be273a033febd0d4f840507e3",
    ),
    "bfcl/possible_answer/BFCL_v4_simple_python.json": (
        "90cd5bc653690ee8e459b5b3f3fc9458606f7f3fcbf795bb51b7dc581f8c86dc",
    ),
    "bfcl/unused_datasets/possible_answer/BFCL_v4_exec_multiple.json": (
        "4d30c1642e7ff57bf29ca8a25bbad27b2a6612efea4ec03c0ba5a894ea6fd15c",
    ),
    "bfcl/unused_datasets/possible_answer/BFCL_v4_exec_parallel.json": (
        "896aa96eda0909780bc474a7887bc38c2025a5a7a90e194236d689c3a3e3d178",
    ),
    "bfcl/unused_datasets/possible_answer/BFCL_v4_exec_parallel_multiple.json": (
        "efe7c7bcaeda600ef2fb8a65841c8628226841d50408313c18e6450d0d5efca9",
    ),
    "bfcl/unused_datasets/possible_answer/BFCL_v4_exec_simple.json": (
        "4584017c92ae9a2407eac25bcec2496233a32a08182301b15f65538aa575b5a7",
    ),
    "bfcl/unused_datasets/question/BFCL_v4_exec_multiple.json": (
        "7dc1247bf337da33b8d72597c31de6f5e510736a89d7551dc898154f09363ced",
    ),
    "bfcl/unused_datasets/question/BFCL_v4_exec_parallel.json": (
        "f407d29d48c86a18966471a00456813b296ec479a7b38b6ffc371d3070ecd412",
    ),
    "bfcl/unused_datasets/question/BFCL_v4_exec_parallel_multiple.json": (
        "6009581d732fd5c7e8332b44f1a9b4ecd62e31bbfe7c283f828a1d1f23e30d1e",
    ),
    "bfcl/unused_datasets/question/BFCL_v4_exec_simple.json": (
        "32ee3959e8e3f92fac1e90e55bf5fa41c759bfef4e6a2d88421af527a859d0a4",
    ),
    "tooleyes/Test_Data/scenario_data_zero_processed.json": (
        "a86e878200d14e58be468a266f068f03955512bd61ff4fd481d26897a403f3e8",
    ),
}
"""File below the data folder -> the checksums it may have.

ToolAlpaca: the first is a copy whose credentials read `<credential>`, the second the file as released.
"""

TOOL_LIBRARY = "a1700bfebde1d7dfb937a8a5d0434163b4a62d7048dd56a62821edc18dc73bf3"
"""Of ToolEyes' `Tool_Library/**/config_gpt4.json`: SHA-256 of the lines `<sha256>  <path below tooleyes>`, by path."""
