"""`python -m tltrain` is `tltrain`."""

import sys

from tltrain.cli import main

sys.exit(main())
