"""Run the command line: `python -m handlers.cli`."""

import sys

from handlers.cli.entry import main

sys.exit(main())
