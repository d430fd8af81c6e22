"""`python -m accord.harness`: lm-evaluation-harness's own command line, which then knows accord's models.

    python -m accord.harness --model accord --model_args path=runs/demo/repair/rankalign-s0 --tasks arc_easy

Of lm-evaluation-harness after 0.4.13, `lm_eval` knows them by itself: the entry point `accord` of `lm_eval.models`.
"""

import sys

from accord.errors import AccordError
from accord.harness.installed import check_installed
from accord.screen import tell


def main() -> int:
    """Run its command line."""
    try:
        check_installed()
        from lm_eval.__main__ import cli_evaluate

        import accord.harness.model  # noqa: F401  # registers the model

        cli_evaluate()
    except AccordError as error:
        tell(f"error: {error}", err=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
