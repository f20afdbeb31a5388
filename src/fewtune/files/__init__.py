"""Files and folders: only plain files are opened, writing is all or nothing, and replacing a folder loses nothing."""

from fewtune.files.exchange import recover
from fewtune.files.folder import ANOTHER, foreign, link, new_folder, refuse_address, refuse_closed, refuse_existing, refuse_foreign, remove
from fewtune.files.manifest import GROWS, add_to_manifest, entries, grow, is_ours, read_record, sealed, written
from fewtune.files.plain import RECORD, expanded, open_regular, read_json, read_regular, sha256, sync_folder, write_bytes
from fewtune.files.safe_names import distinct_names, numbered, safe_name

__all__ = [
    "ANOTHER",
    "GROWS",
    "RECORD",
    "add_to_manifest",
    "distinct_names",
    "entries",
    "expanded",
    "foreign",
    "grow",
    "is_ours",
    "link",
    "new_folder",
    "numbered",
    "open_regular",
    "read_json",
    "read_record",
    "read_regular",
    "recover",
    "refuse_address",
    "refuse_closed",
    "refuse_existing",
    "refuse_foreign",
    "remove",
    "safe_name",
    "sealed",
    "sha256",
    "sync_folder",
    "write_bytes",
    "written",
]
