"""DBOS: a workflow of one step that does nothing, recorded in Postgres."""

from __future__ import annotations

import os

from dbos import DBOS, DBOSConfig

DBOS(config=DBOSConfig(name="noop", system_database_url=os.environ["OVERHEAD_URL"], run_admin_server=False))


@DBOS.step()
def nothing() -> None:
    pass


@DBOS.workflow()
def noop() -> None:
    nothing()


if __name__ == "__main__":
    DBOS.launch()
    noop()
    DBOS.destroy()
