"""``bert drift``: is recent traffic still like the training data, and are answers still right?"""

import typer

from runners.commands.options import ConfigOption, JsonOption, SetOption, load_config


def drift(
    config: ConfigOption = None, assignments: SetOption = None, as_json: JsonOption = False
) -> None:
    """Compare recent traffic with the held-out data of the deployed version.

    Needs the gateway's records and the model server. Exit code 1: drift was raised; 0: it was
    not, or there was too little traffic to tell.
    """
    settings = load_config(config, assignments)
    import time
    from contextlib import closing

    from runners.drift_display import print_drift
    from runners.monitoring import drift_report, quality_report
    from serving.records.database import Database

    now = time.time()
    with closing(Database(settings.database_url())) as database:
        report = drift_report(settings, database, now)
        quality = quality_report(settings, database, now)
    print_drift(report, quality, settings.drift, as_json=as_json)
    if report is not None and report.raised:
        raise typer.Exit(1)
