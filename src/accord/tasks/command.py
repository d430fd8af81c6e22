"""`accord tasks`: which tasks there are."""

from accord.terminal import print_record


def tasks() -> None:
    """List the tasks, their wordings, and the data they read.

    Example: `accord tasks`
    """
    from accord.tasks import catalog

    for row in catalog():
        built_in = "" if row.items is None else f"{row.items} items built in, or "
        generators = {f"--generator {name}": text for name, text in row.generator_phrasings.items()}
        validators = {f"--validator {name}": text for name, text in row.validator_phrasings.items()}
        words = " or ".join("/".join(each) for each in row.labels.values())
        properties = {"--data": built_in + row.data, **generators, **validators, "validator answers": words}
        print_record(row.name, row.asks, properties)


COMMANDS = (tasks,)
