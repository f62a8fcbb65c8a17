"""`python -m segstream.cli` is the `segstream` command."""

import sys

from segstream.cli.main import main

sys.exit(main())
