"""Facts of releases."""

from __future__ import annotations

from shlex import quote

from pyinfra.api.facts import FactBase
from typing_extensions import override

from hubhost.paths import NOT_RECORDED, RECORDED, RELEASES
from hubhost.release import History
from hubhost.service import ROLE_LABEL

RECORDS = f"""
for path in {RELEASES}/*/about; do
  record=${{path%/about}}; id=${{record##*/}}
  [ -f "$record/since" ] && [ ! -L "$record" ] || continue
  sed "s/^/$id /" "$path"
  echo "$id made $(cat "$record/made")"; echo "$id since $(cat "$record/since")"
done
[ ! -L {RELEASES}/current ] || echo "now current $(readlink {RELEASES}/current)"
"""
"""Shell: what is recorded of releases, as History.parse reads it."""


class Releases(FactBase[History]):
    """What is recorded of good releases, and what there is now of what makes one.

    `others_image`: one of sessions that is not ours; images of no name of ours are not listed.
    """

    default = History

    @override
    def command(self, others_image: str | None = None) -> str:
        others = tuple(f"! -path '{path}'" for path in NOT_RECORDED)
        names = "now image {{.Repository}}:{{.Tag}} {{.ID}}"
        other = f"now image {others_image} {{{{.Id}}}}"
        return f"""
{RECORDS}find {" ".join(map(str, RECORDED))} -type f {" ".join(others)} 2>/dev/null \
  | xargs -r sha256sum | awk '{{ print "now files", $2, $1 }}'
docker ps -a --filter label={ROLE_LABEL}=service --format '{{{{.Names}}}}' 2>/dev/null \
  | sed -n 's/-previous$//; t found; d; :found; s/^/now previous /; p'
docker image ls --no-trunc --format {quote(names)} 2>/dev/null \
  | awk '{{ print; print "now present", $4 }}'
[ -z {quote(others_image or "")} ] \
  || docker image inspect -f {quote(other)} {quote(others_image or "")} 2>/dev/null
true
"""

    @override
    def process(self, output: list[str]) -> History:
        return History.parse(output)
