"""Single looks at the disk: each returns what is wrong with one file or folder and what to do, or None.

Nothing here changes anything on the disk.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from pushmirror.curve import read_curve_nodes
from pushmirror.errors import KeyFileError
from pushmirror.keys import PublicKey, load_private_key, parse_public_line, read_authorized_nodes

_OTHERS = 0o007
_GROUP_AND_OTHERS = 0o077
_MAX_PUBLIC_FILE_BYTES = 16 * 1024
# A daemon asks for what it may do with its effective user, as the kernel will.
_AS_EFFECTIVE = {"effective_ids": True} if os.access in os.supports_effective_ids else {}


def look_at_folder(path: Path, *, writable: bool, advice: str) -> str | None:
    """Check a folder that must be there, and readable or (also) writable; `advice` is for one that is not there."""
    status = _stat(path)
    if isinstance(status, str):
        return status.replace("does not exist", f"does not exist: {advice}")
    if not stat.S_ISDIR(status.st_mode):
        return "is not a folder: name a folder"
    if not os.access(path, os.R_OK | os.X_OK, **_AS_EFFECTIVE):
        return f"cannot be read by {_user()}: give that user read and search permission"
    if writable and not os.access(path, os.W_OK | os.X_OK, **_AS_EFFECTIVE):
        return f"cannot be written by {_user()}: chown it to that user, or give it write permission"
    return None


def look_at_state(path: Path, *, advice: str) -> str | None:
    """Check the folder of a daemon's own files: as `look_at_folder`, and that not everybody may write there."""
    problem = look_at_folder(path, writable=True, advice=advice)
    if problem is None and path.stat().st_mode & stat.S_IWOTH:
        return f"can be written by everybody, who could put other files in the place of the daemon's: chmod o-w {path}"
    return problem


def look_at_private_key(path: Path) -> str | None:
    """Check that a private key is there, readable by its owner alone, of the right kind, with its public half."""
    status = _look_at_file(path, f"make it with: pushmirror keygen {path}")
    if isinstance(status, str):
        return status
    if status.st_mode & _GROUP_AND_OTHERS:
        return f"can be read by others (mode {stat.S_IMODE(status.st_mode):04o}): chmod 600 {path}"
    try:
        private = load_private_key(path)
        public = parse_public_line(_read_public(path))
    except (KeyFileError, ValueError) as error:
        return str(error)
    if public != private.public and not _is_coming(path, public):
        return f"{path}.pub is not the public half of this key: make it anew with ssh-keygen -y -f {path}"
    return None


def _is_coming(path: Path, public: PublicKey) -> bool:
    """Tell whether `public` belongs to the key that `rotate-key` was putting in the place of this one."""
    try:
        return load_private_key(path.with_name(f"{path.name}.next")).public == public
    except KeyFileError:
        return False


def look_at_secret(path: Path) -> str | None:
    """Check that a file with a password is there, readable, and closed to the world."""
    status = _look_at_file(path, "create it with the password as its only line, mode 600")
    if isinstance(status, str):
        return status
    if status.st_mode & _OTHERS:
        return f"is open to everybody (mode {stat.S_IMODE(status.st_mode):04o}): chmod 600 {path}"
    return None


def look_at_nodes(path: Path) -> tuple[str, ...]:
    """Check that a file of authorised nodes is there, readable and well formed; each bad line is one problem."""
    status = _look_at_file(path, "create it (it may be empty), or remove the key")
    if isinstance(status, str):
        return (status,)
    problems: list[str] = []
    for read in (read_authorized_nodes, read_curve_nodes):
        try:
            read(path)
        except KeyFileError as error:
            problems += str(error).splitlines()
    return tuple(dict.fromkeys(problems))


def look_at_staging(staging: Path, tree: Path) -> str | None:
    """Check that a staging folder, or the place where it will be made, can be written and is on the tree's file
    system."""
    place = next((place for place in (staging, *staging.parents) if os.path.exists(place)), Path("/"))
    status, tree_status = _stat(place), _stat(tree)
    if isinstance(status, str):
        return status
    if not isinstance(tree_status, str) and status.st_dev != tree_status.st_dev:
        return f"is on another file system than the tree {tree}: name a folder on the same one"
    return look_at_folder(place, writable=True, advice="")


def _look_at_file(path: Path, advice: str) -> os.stat_result | str:
    status = _stat(path)
    if isinstance(status, str):
        return status.replace("does not exist", f"does not exist: {advice}")
    if not stat.S_ISREG(status.st_mode):
        return "is not a file: name a file"
    if not os.access(path, os.R_OK, **_AS_EFFECTIVE):
        return f"cannot be read by {_user()}: chown it to that user"
    return status


def _stat(path: Path) -> os.stat_result | str:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return "does not exist"
    except PermissionError:
        return f"cannot be reached by {_user()}: give that user search permission on the folders above it"
    except OSError as error:
        return f"cannot be looked at: {error.strerror or error}"


def _read_public(private: Path) -> str:
    public = private.with_name(f"{private.name}.pub")
    remedy = f"make it anew with ssh-keygen -y -f {private}"
    try:
        with public.open("rb") as stream:
            content = stream.read(_MAX_PUBLIC_FILE_BYTES)
    except OSError as error:
        raise ValueError(f"its public half {public} cannot be read ({error.strerror or error}): {remedy}") from error
    return content.decode("utf-8", "replace").strip()


def _user() -> str:
    try:
        return f"the user {pwd.getpwuid(os.geteuid()).pw_name}"
    except KeyError:
        return f"the user {os.geteuid()}"
