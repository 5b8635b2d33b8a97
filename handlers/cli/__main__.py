"""Run the command line: `python -m handlers.cli`."""

import sys

from handlers.cli.main import main

sys.exit(main())
