"""``rolekeeper local``, or ``python -m rolekeeper_local``: the embedded AWS with Rolekeeper deployed.

With `ROLEKEEPER_LOCAL_ACCOUNTS` it is the hub of that many accounts. It stays in the foreground until Ctrl-C.
Standard output carries one line, ``ready: <endpoint>``; progress, and what to type next, goes to standard error.
"""

import os
import sys

from rolekeeper_cli.errors import CommandError
from rolekeeper_local.account import EmulatedAccount
from rolekeeper_local.embedded import EmbeddedAws, leave_by_interrupt
from rolekeeper_local.next_steps import next_steps
from rolekeeper_local.place import EmbeddedAwsError
from rolekeeper_local.settings import accounts_from
from rolekeeper_local.spokes import deploy_organization


def main(port: int | None = None, accounts: int | None = None) -> int:
    """Start, deploy, say so, and stay; return the exit code."""
    leave_by_interrupt()
    try:
        accounts = accounts_from(os.environ) if accounts is None else accounts
        with EmbeddedAws(port=port, progress=_say) as aws:
            if accounts == 1:
                aws.deploy()
                with aws.step("starter roles"):
                    EmulatedAccount(aws).deploy_starter_roles()
            else:
                deploy_organization(aws, accounts)
            print(f"ready: {aws.endpoint}", flush=True)  # noqa: T201 - the contract
            _say(next_steps(aws, accounts))
            code = aws.wait()
            _say(f"the emulator ended by itself; its log: {os.path.relpath(aws.log)}")
            return code or 1
    except KeyboardInterrupt:
        return 0
    except (EmbeddedAwsError, CommandError, ValueError) as error:
        _say(str(error))
        return 1


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress for a person who waits


if __name__ == "__main__":
    sys.exit(main())
