"""One job type, two queues: two handlers that know nothing of each other.

If one of them fails, only its own delivery is retried. Each queue has its own consumers, and its own number of them.
"""

from __future__ import annotations

from consumer import Context, handler
from examples.contracts.member_joined import MemberJoined


@handler("member.joined", queue="badges")
async def make_badge(member: MemberJoined, _: Context) -> dict[str, str]:
    return {"badge": f"{member.member_id:06d} {member.name.upper()}"}


@handler("member.joined", queue="greetings")
async def greet(member: MemberJoined, ctx: Context) -> dict[str, str]:
    ctx.log.info("a member is greeted", member_id=member.member_id)
    return {"greeting": f"Welcome, {member.name}."}
