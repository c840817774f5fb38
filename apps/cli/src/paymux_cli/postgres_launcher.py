"""Become the account a Postgres program may run as, tie its life to ours, and become that program.

Run as a script, by path, with `python -I -S`, so that it starts in some 20 ms; it imports nothing of ours. It is a
process of its own because these steps are not safe between fork and exec of a program with threads.

    postgres_launcher.py ACCOUNT PARENT_PID PROGRAM ARGUMENT...

ACCOUNT is `self`, `namespace` (root, seen from inside as an ordinary user) or `nobody`. The order matters: the kernel
forgets the parent-death signal when an account changes, so the signal is set last.
"""

import ctypes
import os
import pwd
import signal
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
# Any number but 0: Postgres refuses to run as root, and asks for nothing else.
INNER_ID = 1000
# Exit status "this account cannot be had here"; no Postgres program uses it.
ACCOUNT_UNAVAILABLE = 90


def main() -> None:
    """Take the steps and never return."""
    account, parent_pid, program, *arguments = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        if account == "namespace":
            _enter_namespace(libc)
        elif account == "nobody":
            _become_nobody()
    except OSError as refusal:
        sys.stderr.write(f"cannot become {account}: {refusal}\n")
        sys.exit(ACCOUNT_UNAVAILABLE)
    # SIGINT is Postgres' fast shutdown: no orphan survives a supervisor that was killed.
    _checked(libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0))
    if os.getppid() != int(parent_pid):
        sys.exit(0)  # the parent died before the signal was set
    os.umask(0o077)
    os.execv(program, [program, *arguments])  # noqa: S606  this is a launcher


def _enter_namespace(libc: ctypes.CDLL) -> None:
    """Map our uid and gid to an ordinary number inside a new user namespace; files stay ours outside."""
    uid, gid = os.geteuid(), os.getegid()
    _checked(libc.unshare(CLONE_NEWUSER))
    proc = Path("/proc/self")
    (proc / "setgroups").write_text("deny")
    (proc / "uid_map").write_text(f"{INNER_ID} {uid} 1")
    (proc / "gid_map").write_text(f"{INNER_ID} {gid} 1")


def _become_nobody() -> None:
    """Give up root for good."""
    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setresgid(nobody.pw_gid, nobody.pw_gid, nobody.pw_gid)
    os.setresuid(nobody.pw_uid, nobody.pw_uid, nobody.pw_uid)


def _checked(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


if __name__ == "__main__":
    main()
