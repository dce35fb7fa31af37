"""All rows of the table: they enter it where their modules are imported."""

from __future__ import annotations

from fleet import rows_members, rows_store

MODULES = (rows_members, rows_store)
