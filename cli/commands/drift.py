"""``bert drift``: test recent traffic for drift, and measure or estimate accuracy."""

import typer

from cli.commands.options import ConfigOption, JsonOption, SetOption, load_config, open_database

#: Exit codes in addition to 0, no drift, and 2, an error that the user can fix.
RAISED, TOO_LITTLE_TRAFFIC = 1, 3


def drift(
    config: ConfigOption = None, assignments: SetOption = None, as_json: JsonOption = False
) -> None:
    """Compare recent traffic with the held-out data of the deployed version.

    Needs the gateway's records and a running model server. Exit codes: 0 no drift, 1 drift
    detected, 2 the comparison is not possible, 3 too little traffic.
    """
    settings = load_config(config, assignments)
    import time

    from cli.screens.drift import print_drift
    from runners.freshness.monitoring import drift_report, quality_report

    now = time.time()
    with open_database(settings) as database:
        report = drift_report(settings, database, now)
        quality = quality_report(settings, database, now)
    print_drift(report, quality, settings.drift, as_json=as_json)
    if report is None:
        raise typer.Exit(TOO_LITTLE_TRAFFIC)
    raise typer.Exit(RAISED if report.raised else 0)
