"""Its presence puts `tests` on the import path, so that tests find `report.synthetic_run`."""
