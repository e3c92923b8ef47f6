"""`python -m lab up` and its sisters."""

import sys

from lab.cli import main

sys.exit(main())
