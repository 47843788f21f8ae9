"""What rules found, as findings of their regions, in the attention maps that there are, too."""

import json
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_AT_ONCE = 100
_PLACE = ("box", "centreMm", "volumeMm3")

_Region = dict[str, Any]


def upgrade() -> None:
    """Give every region of a rule its finding; its severity and its numbers were never kept."""
    _rewrite('%"message"%', _with_finding)


def downgrade() -> None:
    """Give every region of a rule its name and sentence back; all else of the findings is lost."""
    _rewrite('%"findings"%', _without_findings)


def _rewrite(said: str, change: Callable[[_Region], _Region]) -> None:
    """Change the regions of all records, which are the protobuf JSON of their messages, that hold `said`."""
    connection, after = op.get_bind(), 0
    query = sa.text(
        "SELECT sequence, record FROM attention_maps WHERE sequence > :after AND record LIKE :said"
        " ORDER BY sequence LIMIT :most"
    )
    update = sa.text("UPDATE attention_maps SET record = :record WHERE sequence = :sequence")
    while maps := connection.execute(query, {"after": after, "said": said, "most": _AT_ONCE}).all():
        for sequence, text in maps:
            record = json.loads(text)
            changed = record | {"regions": [change(region) for region in record.get("regions", [])]}
            connection.execute(update, {"record": json.dumps(changed), "sequence": sequence})
        after = maps[-1][0]


def _with_finding(region: _Region) -> _Region:
    kept = {name: value for name, value in region.items() if name not in ("rule", "message")}
    if "rule" not in region:
        return kept
    told = {name: region[name] for name in ("rule", "message", *_PLACE) if name in region}
    return kept | {"findings": [told | {"organs": [region["organ"]]}]}


def _without_findings(region: _Region) -> _Region:
    kept = {name: value for name, value in region.items() if name != "findings"}
    if region["cause"] != "CAUSE_PRIOR":
        return kept
    (finding,) = region["findings"]
    return kept | {name: finding[name] for name in ("rule", "message") if name in finding}
