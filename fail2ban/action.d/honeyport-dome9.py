"""Fail2Ban action for honeyport: has a Dome9 (Check Point CloudGuard) account block what a jail has banned

It speaks to no network. Ban and unban only note what is wanted and return; a thread writes it down, one file for each
jail, and the service `honeyport dome9` brings the account's IP list to it. So neither the API nor a slow disk holds up
a ban. It blocks nobody by itself; it is one more line of any jail's `action`, beside what blocks:

    [honeyport]
    action = %(known/action)s
             honeyport-dome9.py

Whoever is allowed is never wanted: the listener's exported allow list, the jail's ignoreip and with ignoreself this
host's own addresses. What is wanted stays so while fail2ban is stopped, and ends by its time.

Author:  the honeyport project
Works with fail2ban 1.0.2 to 1.1.x. Needs honeyport_nftables.py of the same release beside it.

This file is replaced by upgrades. A running jail takes the new one when it restarts:
`fail2ban-client restart honeyport`.

Options
    state      the directory that the service watches; the key `state` of dome9.yaml. Default: /var/lib/honeyport/dome9
    allow      the listener's exported allow list: auto, an absolute path, or off; auto is the file beside each log of
               the jail with .allow.json in the place of .log. Default: auto
"""

import collections
import contextlib
import errno
import importlib.util
import ipaddress
import json
import os
import re
import stat
import threading
import time

from fail2ban.server.action import ActionBase

# More than an account takes; they are 12 MB in the file.
MOST_RECORDED = 100_000
# A jail that has more is misconfigured, or under an attack that fail2ban's own memory does not survive.
MOST_WANTED = 500_000

# Bans come in crowds: a file is written when none has come for the first, and no later than the second.
GATHERING_PAUSE_SECONDS = 0.3
LONGEST_GATHERING_SECONDS = 2

# Between two writes; and that many times what the last one took.
WRITE_PAUSE_SECONDS = 1
WRITE_SHARE = 20

TICK_SECONDS = 1
LONGEST_RETRY_SECONDS = 60
LONGEST_STOP_SECONDS = 5

# What a killed server left is replaced when the restored bans are in: nothing was banned for a while, or this is over.
SETTLED_SECONDS = 3
LONGEST_SETTLING_SECONDS = 60

# Between two parts of long work fail2ban's threads get their turn: for each system call one of them waits until we let
# go of the interpreter.
BANS_PER_PART = 500
PART_PAUSE_SECONDS = 0.001

DECOY = re.compile(r"[a-z0-9._-]{1,32}\Z")
EVENT_ID = re.compile(r"[a-z0-9]{1,32}\.\d{1,20}\Z")
PORT = re.compile(r"[1-9]\d{0,4}\Z")

TEMPORARY_PREFIX = ".honeyport-"


def load_sibling(name):
    """The module of a file beside this one. Under no name of its own: fail2ban executes a module of that name anew."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".py")
    spec = importlib.util.spec_from_file_location("%s_of_honeyport_dome9" % name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Settings:
    """The options, checked. Two are equal when they say the same."""

    def __init__(self, state="/var/lib/honeyport/dome9", allow="auto", **ignored):
        unknown = set(ignored) - {"port", "protocol", "name", "chain"}
        if unknown:
            raise ValueError("Expected an option of honeyport-dome9, got %s" % ", ".join(sorted(unknown)))
        if not state.startswith("/"):
            raise ValueError("state: expected an absolute path, got %r" % state)
        if allow not in ("auto", "off") and not allow.startswith("/"):
            raise ValueError("allow: expected auto, an absolute path or off, got %r" % allow)
        self.state = state.rstrip("/") or "/"
        self.allow = None if allow == "off" else allow

    def __eq__(self, other):
        return vars(self) == vars(other)


Note = collections.namedtuple("Note", "time bantime data is_new")
"""What fail2ban tells of a ban, as it is: whoever bans must not wait for more. data: the values of its line"""

Entry = collections.namedtuple("Entry", "network since end line")
"""A ban as it is recorded. end: seconds since the epoch, or infinity; line: its line in the file"""


class Record:
    """The file in which a jail's bans stand.

    Its directory may belong to the service's unprivileged user, who must not lead root to another file, or hold it up.
    """

    def __init__(self, state, jail):
        self._state = state
        self._name = "%s.json" % self._identifier(jail)
        self._written = None
        self.path = os.path.join(state, "wanted", self._name)

    @staticmethod
    def _identifier(jail):
        return SIBLING.Ruleset._identifier(jail)

    def write(self, parts):
        """Replaces the file by what `parts` of bytes are, unless it is that already. Raises OSError."""
        with self._open_directory() as (directory, owner):
            self._remove_leftovers(directory)
            if not self._is(directory, parts):
                self._replace(directory, owner, parts)

    @contextlib.contextmanager
    def _open_directory(self):
        """The directory of the files, and who owns the one above; makes what is missing."""
        self._make_parents(os.path.dirname(self._state))
        state = self._open_or_make(self._state, None, 0o750, None)
        try:
            status = os.fstat(state)
            owner = (status.st_uid, status.st_gid)
            directory = self._open_or_make("wanted", state, 0o750, owner)
            try:
                yield directory, owner
            finally:
                os.close(directory)
        finally:
            os.close(state)

    def _make_parents(self, path):
        """fail2ban's umask would keep everybody but root out of them."""
        if not os.path.isdir(path):
            self._make_parents(os.path.dirname(path))
            os.close(self._open_or_make(path, None, 0o755, None))

    def _open_or_make(self, name, above, mode, owner):
        try:
            os.mkdir(name, mode, dir_fd=above)
        except FileExistsError:
            return self._open(name, above)
        descriptor = self._open(name, above)
        try:
            if owner is not None:
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    @staticmethod
    def _open(name, above):
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(name, flags, dir_fd=above)
        except OSError as error:
            # What open(2) says of a symbolic link with these flags is that it is no directory.
            known = error.errno in (errno.ENOTDIR, errno.ELOOP)
            raise OSError(error.errno, "%s is not a directory of its own" % name) if known else error

    def _remove_leftovers(self, directory):
        """What a server left that was killed as it wrote this file."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._temporary_name(), dir_fd=directory)

    def _temporary_name(self):
        return TEMPORARY_PREFIX + self._name

    def _is(self, directory, parts):
        """Whether the file says this already; another one may have come in its place since it was written."""
        try:
            descriptor = os.open(self._name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                                 dir_fd=directory)
        except OSError:
            return False
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size != sum(map(len, parts)):
                return False
            return all(os.read(descriptor, len(part)) == part for part in parts)
        finally:
            os.close(descriptor)

    def _replace(self, directory, owner, parts):
        name = self._temporary_name()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o640, dir_fd=directory)
        try:
            try:
                os.fchown(descriptor, *owner)
                os.fchmod(descriptor, 0o640)
                for part in parts:
                    self._write_all(descriptor, part)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(name, self._name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=directory)
            raise

    @staticmethod
    def _write_all(descriptor, data):
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view):]


class Allowed:
    """Whom the jail never bans, to ask for networks that overlap with one of them."""

    def __init__(self, jail, tell):
        self._list = SIBLING.AllowList(jail, tell)
        self._elements = None
        self._firsts = {}

    def look(self, option, make_way):
        """Whether the list is another one than before."""
        self._list.look(option, make_way)
        if self._list.elements is self._elements:
            return False
        self._elements = self._list.elements
        self._firsts = self._index(self._elements, make_way)
        return True

    @staticmethod
    def _index(elements, make_way):
        """The first addresses of all networks as numbers, by version and length; those of some ports count, too."""
        firsts = collections.defaultdict(set)
        for count, element in enumerate(element for some in (elements or {}).values() for element in some):
            # An entry with ports is `network . ports`.
            entry = SIBLING.to_allowed(element.split(" ")[0])
            firsts[(entry.version, entry.length)].add(entry.first)
            if count % BANS_PER_PART == BANS_PER_PART - 1:
                make_way()
        return firsts

    def overlaps(self, network):
        first, last = int(network.network_address), int(network.broadcast_address)
        longest = network.max_prefixlen
        for (version, length), firsts in self._firsts.items():
            if version != network.version:
                continue
            if length <= network.prefixlen:
                if first >> (longest - length) << (longest - length) in firsts:
                    return True
            elif any(first <= other <= last for other in firsts):
                return True
        return False


class Action(ActionBase):
    """What fail2ban calls. Its threads call ban and unban; only the worker reads, compares and writes."""

    # fail2ban tells when a ban becomes longer, through prolong.
    _prolongable = True
    # fail2ban compares it once a stock action of the same jail had to be repaired.
    banEpoch = 0

    def __init__(self, jail, name, **options):
        """What is wrong is raised by `start`: raised here, it would stop the whole server with all other jails."""
        super().__init__(jail, name)
        self._problem = SIBLING_PROBLEM
        self._settings = Settings()
        try:
            self._settings = Settings(**options)
        except (ValueError, TypeError, AttributeError) as error:
            self._problem = self._problem or error
        self._condition = threading.Condition()
        self._worker = None
        self._stopping = False
        # What was told and not looked at yet: the last note by address, None for an unban; first of all, that all go.
        self._told = {}
        self._flush_told = False
        # When the first and the last of them came; None for nothing.
        self._first_told_at = None
        self._last_told_at = 0
        # What is wanted, by address as fail2ban names it; the worker's alone.
        self._entries = {}
        self._must_write = True
        self._settling_until = None
        self._next_write_at = 0
        self._failures = 0
        self._failure = None
        self._left_out = 0
        self._refused = 0
        self._recorded = 0
        if SIBLING is not None:
            self._allowed = Allowed(jail, self._tell)
            self._record = Record(self._settings.state, jail.name)

    # --- what fail2ban calls ---

    def start(self):
        """Raises ValueError for wrong options: fail2ban says so in its log, and nothing is recorded until a reload."""
        if self._problem is not None:
            raise ValueError("%s; nothing is recorded for Dome9 until that is right" % self._problem)
        if self._worker is not None and self._worker.is_alive():
            return
        now = time.monotonic()
        self._stopping = False
        self._settling_until = now + LONGEST_SETTLING_SECONDS
        self._last_told_at = now
        name = "honeyport-dome9/%s" % self._jail.name
        self._worker = threading.Thread(target=self._run, name=name, daemon=True)
        self._worker.start()

    def stop(self):
        """Writes what is still to be written; what is wanted stays wanted, until its time is over."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if self._worker is not None:
            self._worker.join(LONGEST_STOP_SECONDS)
            if self._worker.is_alive():
                self._tell("error", "%s is still being written; what changed last may be missing there",
                           self._record.path)

    def ban(self, aInfo):
        """Also for an address that is banned already: the new end holds."""
        self._note(aInfo["ip"], Note(aInfo["time"], aInfo["bantime"], aInfo["F-*"], True))

    def prolong(self, aInfo):
        """The new end of a ban; of none that was lifted in the meantime."""
        self._note(aInfo["ip"], Note(aInfo["time"], aInfo["bantime"], aInfo["F-*"], False))

    def unban(self, aInfo):
        self._note(aInfo["ip"], None)

    def flush(self):
        """Unbans all at once, where it is not the end of the jail; returns True, so that it is not done one by one."""
        if self._jail.actions.active:
            with self._condition:
                self._told.clear()
                self._flush_told = True
                self._wake()
        return True

    def clearAllParams(self):
        """Has to exist for `reload` to be called, and the action to be kept, when fail2ban reloads."""

    def reload(self, **options):
        """Takes new options over; wrong ones are reported and the old ones stay."""
        try:
            settings = Settings(**options)
        except (ValueError, TypeError, AttributeError) as error:
            stay = "the options before stay in force" if self._problem is None else "still nothing is recorded"
            self._tell("error", "%s; %s", error, stay)
            return
        if SIBLING is None:
            self._tell("error", "%s; still nothing is recorded", SIBLING_PROBLEM)
            return
        self._problem = None
        with self._condition:
            if settings != self._settings:
                self._settings = settings
                self._record = Record(settings.state, self._jail.name)
                self._must_write = True
            self._condition.notify()
        if self._worker is None:
            self.start()
            self._note_all()

    @property
    def wanted(self):
        """How many bans stand in the file, for `fail2ban-client get <jail> action <action> wanted`."""
        return self._recorded

    @property
    def waiting(self):
        """How many bans and unbans do not stand in the file yet."""
        return len(self._told)

    # --- notes, of fail2ban's threads ---

    def _note(self, address, note):
        if self._worker is None:
            # Wrong options; once they are right all bans there are by then are noted.
            return
        address = str(address)
        with self._condition:
            before = self._told.get(address, note)
            if note is not None and not note.is_new:
                if before is None:
                    return
                note = note._replace(is_new=before.is_new)
            if len(self._told) < MOST_WANTED or address in self._told:
                # The last word is the last one of the file, too.
                self._told.pop(address, None)
                self._told[address] = note
            else:
                self._refused += 1
            self._wake()

    def _wake(self):
        now = time.monotonic()
        if self._first_told_at is None:
            self._first_told_at = now
            self._condition.notify()
        self._last_told_at = now

    def _note_all(self):
        """The bans that the jail had before there was anybody to be told."""
        default = self._jail.actions.getBanTime()
        for ticket in self._jail.actions.banManager:
            self._note(ticket.getID(), Note(ticket.getTime(), ticket.getBanTime(default), ticket.getData(), True))

    # --- the worker ---

    def _run(self):
        while not self._stopping:
            try:
                self._turn()
            except Exception as error:  # a thread that ends would record nothing more
                self._delay_retry(error)
            self._wait()
        self._finish()

    def _wait(self):
        """Until something was told, or a tick has passed; in a burst the rest of it is left to come."""
        with self._condition:
            if not self._stopping and self._first_told_at is None:
                self._condition.wait(TICK_SECONDS)
        while not self._stopping and self._is_gathering():
            time.sleep(GATHERING_PAUSE_SECONDS / 4)

    def _is_gathering(self):
        now = time.monotonic()
        with self._condition:
            return self._first_told_at is not None and now < min(self._last_told_at + GATHERING_PAUSE_SECONDS,
                                                                 self._first_told_at + LONGEST_GATHERING_SECONDS)

    def _turn(self):
        self._take_told()
        now = time.monotonic()
        if self._settling_until is not None:
            if now < min(self._settling_until, self._last_told_at + SETTLED_SECONDS):
                return
            self._settling_until = None
        # Between the two ends of a reload, in which its jails are idle, fail2ban has no ignoreip.
        if not self._jail.idle and self._allowed.look(self._settings.allow, self._make_way):
            self._must_write = True
        if self._must_write and now >= self._next_write_at:
            self._write()

    def _finish(self):
        """The last write, which cannot be tried again. During the settling the file is what is wanted."""
        if self._settling_until is not None:
            return
        try:
            self._take_told()
            if self._must_write:
                self._write()
        except Exception as error:
            self._tell("error", "%s; what changed last is missing in %s", reason(error), self._record.path)

    def _take_told(self):
        """Brings what was told into the entries."""
        with self._condition:
            told, self._told = self._told, {}
            flushed, self._flush_told = self._flush_told, False
            self._first_told_at = None
        if flushed:
            self._entries.clear()
            self._refused = 0
        self._must_write = self._must_write or flushed or len(told) > 0
        for count, (address, note) in enumerate(told.items(), 1):
            if note is None:
                self._entries.pop(address, None)
            else:
                self._take(address, note)
            if count % BANS_PER_PART == 0:
                self._make_way()

    def _take(self, address, note):
        is_known = address in self._entries
        if not is_known and not note.is_new:
            return
        if not is_known and len(self._entries) >= MOST_WANTED:
            self._refused += 1
            return
        try:
            self._entries[address] = to_entry(address, note)
        except Exception as error:  # such as a host name, which only `usedns` or a ban by hand brings
            self._tell("error", "%s is not recorded for Dome9: %s", address, reason(error))

    def _make_way(self):
        """Between two parts of long work: gives fail2ban's threads their turn."""
        time.sleep(PART_PAUSE_SECONDS)

    def _write(self):
        begin = time.monotonic()
        record = self._record
        entries, left_out = self._choose()
        # A change that comes from now on is written with the next one.
        self._must_write = False
        try:
            record.write(to_parts(self._jail.name, entries, left_out))
        except Exception:
            self._must_write = True
            raise
        self._recorded = len(entries)
        took = time.monotonic() - begin
        self._next_write_at = time.monotonic() + max(WRITE_PAUSE_SECONDS, WRITE_SHARE * took)
        self._say_left_out(left_out)
        self._recover()

    def _choose(self):
        """The entries to record, the newest of too many, and how many there is no room for."""
        chosen, now = [], time.time()
        for count, entry in enumerate(list(self._entries.values())):
            if entry.end > now and not self._allowed.overlaps(entry.network):
                chosen.append(entry)
            if count % BANS_PER_PART == BANS_PER_PART - 1:
                self._make_way()
        if len(chosen) > MOST_RECORDED:
            chosen.sort(key=lambda entry: entry.since, reverse=True)
        recorded = chosen[:MOST_RECORDED]
        return recorded, len(chosen) - len(recorded) + self._refused

    # --- what is said ---

    def _tell(self, level, message, *values):
        getattr(self._logSys, level)("[%s] " + message, self._jail.name, *values)

    def _delay_retry(self, error):
        self._failures += 1
        pause = min(LONGEST_RETRY_SECONDS, 2 ** min(self._failures - 1, 10))
        self._next_write_at = time.monotonic() + pause
        failure = reason(error)
        if failure != self._failure:
            self._failure = failure
            self._tell("error", "cannot write %s: %s; the firewall has all bans, Dome9 gets them when this works",
                       self._record.path, failure)

    def _recover(self):
        if self._failure is not None:
            self._tell("notice", "%s can be written again, with %d bans", self._record.path, self._recorded)
        self._failures = 0
        self._failure = None

    def _say_left_out(self, left_out):
        if left_out > 0 and self._left_out == 0:
            self._tell("error", "only the newest %d bans are recorded for Dome9, %d are not", MOST_RECORDED, left_out)
        self._left_out = left_out


def reason(error):
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "%s: %s" % (type(error).__name__, error)


def to_entry(address, note):
    """Raises ValueError for what is neither an address nor a network."""
    network = SIBLING.to_network(address)
    end = SIBLING.to_end(note.time, note.bantime)
    data = note.data if isinstance(note.data, dict) else {}
    value = {"ip": SIBLING.to_text(network), "since": int(note.time),
             "until": None if end == SIBLING.FOREVER else int(end)}
    port, decoy, event_id = (str(data.get(key, "")) for key in ("dpt", "decoy", "eventid"))
    if PORT.match(port) and int(port) <= 65535:
        value["dpt"] = int(port)
    if DECOY.match(decoy):
        value["decoy"] = decoy
    if EVENT_ID.match(event_id):
        value["id"] = event_id
    return Entry(network, int(note.time), end, json.dumps(value, separators=(",", ":")).encode("ascii"))


def to_parts(jail, entries, left_out):
    """The file, in parts of bytes."""
    head = '{"version":1,"jail":%s,"leftOut":%d,"bans":[\n' % (json.dumps(jail), left_out)
    lines = b",\n".join(entry.line for entry in entries)
    return [head.encode("ascii"), lines + b"\n]}\n" if entries else b"]}\n"]


SIBLING, SIBLING_PROBLEM = None, None
try:
    SIBLING = load_sibling("honeyport_nftables")
except Exception as error:  # raised here, it would stop the whole server
    SIBLING_PROBLEM = "honeyport_nftables.py of the same release must stand beside this file: %s" % error
