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

import bisect
import collections
import contextlib
import errno
import importlib.util
import json
import os
import random
import re
import stat
import threading
import time

from fail2ban.server.action import ActionBase

# More than an account takes; they are 12 MB in the file.
MOST_RECORDED = 100_000
MOST_RECORDED_BYTES = 32 << 20

# Bans come in crowds: a file is written when none has come for the first, and no later than the second.
GATHERING_PAUSE_SECONDS = 0.3
LONGEST_GATHERING_SECONDS = 2

# Between two writes; and that many times the work of the last one, however long its disk took.
WRITE_PAUSE_SECONDS = 1
WRITE_SHARE = 20

TICK_SECONDS = 1
LONGEST_RETRY_SECONDS = 60
LONGEST_STOP_SECONDS = 5

# What a killed server left is replaced when the restored bans are in: nothing was banned for a while, or this is over.
SETTLED_SECONDS = 3
LONGEST_SETTLING_SECONDS = 60

# Between two parts of long work fail2ban's threads get their turn: for each system call one of them waits until we let
# go of the interpreter. A part is some milliseconds.
ITEMS_PER_PART = 500
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

Entry = collections.namedtuple("Entry", "since line end network")
"""A ban as it is recorded. line: its line in the file; end: seconds since the epoch, or infinity

In an order that is the same after a restart: the oldest first."""


class Record:
    """The file in which a jail's bans stand.

    Its directory may belong to the service's unprivileged user, who must not lead root to another file, or hold it up.
    """

    def __init__(self, state, jail):
        self._state = state
        self._name = "%s.json" % self._identifier(jail)
        # Another one may write the file by now.
        self.is_abandoned = False
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
        for name in os.listdir(directory):
            if name.startswith(self._temporary_prefix()):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=directory)

    def _temporary_prefix(self):
        return "%s%s." % (TEMPORARY_PREFIX, self._name)

    def read(self):
        """The lines of the bans that stand in the file. Raises OSError, and ValueError where it is another file."""
        with self._open_directory() as (directory, owner):
            descriptor = os.open(self._name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                                 dir_fd=directory)
            with os.fdopen(descriptor, "rb") as file:
                data = file.read(MOST_RECORDED_BYTES)
        return [json.dumps(ban, separators=(",", ":")).encode("ascii") for ban in json.loads(data)["bans"]]

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
        name = self._temporary_prefix() + "%08x" % random.getrandbits(32)
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
            if self.is_abandoned:
                raise OSError(errno.ECANCELED, "it took too long")
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
        self._ordered = {}

    @property
    def is_known(self):
        return self._elements is not None

    def look(self, option, make_way):
        """Whether the list is another one than before."""
        self._list.look(option, make_way)
        if self._list.elements is self._elements:
            return False
        self._elements = self._list.elements
        self._index(make_way)
        return True

    def _index(self, make_way):
        """The first addresses of all networks as numbers, by version and length; those of some ports count, too."""
        firsts = collections.defaultdict(lambda: collections.defaultdict(set))
        for element in in_parts([element for some in self._elements.values() for element in some], make_way):
            # An entry with ports is `network . ports`.
            entry = SIBLING.to_allowed(element.split(" ")[0])
            firsts[entry.version][entry.length].add(entry.first)
        self._firsts = firsts
        self._ordered = {version: sorted(set().union(*some.values())) for version, some in firsts.items()}

    def overlaps(self, network):
        first, last = int(network.network_address), int(network.broadcast_address)
        for length, firsts in self._firsts.get(network.version, {}).items():
            shift = network.max_prefixlen - length
            if length <= network.prefixlen and first >> shift << shift in firsts:
                return True
        ordered = self._ordered.get(network.version, ())
        position = bisect.bisect_left(ordered, first)
        return position < len(ordered) and ordered[position] <= last


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
        self._flush_told = self._ends_wanted = False
        # When the first and the last of them came; None for nothing.
        self._first_told_at = None
        self._last_told_at = 0
        self._next_settings = None
        # All from here on is the worker's alone: what is wanted, by address as fail2ban names it, and who is not since
        # somebody allowed is in it.
        self._entries = {}
        self._held_back = set()
        # Whom somebody let go before all restored bans were in.
        self._lifted = set()
        self._all_lifted = False
        self._must_write = True
        self._settling_until = None
        self._next_look_at = self._next_write_at = 0
        self._failures = 0
        self._failure = None
        self._left_out = 0
        self._recorded = self._unrecorded = 0
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
                self._record.is_abandoned = True
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
            stay = "still nothing is recorded" if self._problem else "the options before stay in force"
            self._tell("error", "%s; %s", error, stay)
            return
        if SIBLING is None:
            self._tell("error", "%s; still nothing is recorded", SIBLING_PROBLEM)
            return
        self._problem = None
        with self._condition:
            self._next_settings = settings
            self._condition.notify()
        if self._worker is None:
            self.start()
            self._note_all()

    def consistencyCheck(self, beforeRepair=None):
        """fail2ban found a banned address again, and has banned it for longer without a word."""
        with self._condition:
            self._ends_wanted = True

    @property
    def wanted(self):
        """How many bans stand in the file, for `fail2ban-client get <jail> action <action> wanted`."""
        return self._recorded

    @property
    def waiting(self):
        """How many bans and unbans do not stand in the file yet."""
        return self._unrecorded + len(self._told) + self._flush_told

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
            self._told[address] = note
            self._wake()

    def _wake(self):
        now = time.monotonic()
        if self._first_told_at is None:
            self._first_told_at = now
            self._condition.notify()
        self._last_told_at = now

    def _note_all(self):
        """The bans that the jail had before there was anybody to be told."""
        for ticket in in_parts(self._jail.actions.banManager, self._make_way):
            self._note(ticket.getID(), self._to_note(ticket, is_new=True))

    def _to_note(self, ticket, is_new):
        default = self._jail.actions.getBanTime()
        return Note(ticket.getTime(), ticket.getBanTime(default), ticket.getData(), is_new)

    # --- the worker ---

    def _run(self):
        while not self._stopping:
            try:
                self._turn()
            except Exception as error:  # a thread that ends would record nothing more
                self._delay_retry(error)
            self._wait()
            if self._is_removed():
                return
        self._finish()

    def _is_removed(self):
        """`set <jail> delaction` tells nobody. What is wanted stays."""
        return not self._stopping and self._jail.actions.get(self._name) is not self

    def _wait(self):
        """Until something was told, or it is time for something else; in a burst the rest of it is left to come."""
        with self._condition:
            if not self._stopping and self._first_told_at is None:
                until_write = self._next_write_at - time.monotonic() if self._must_write else 0
                self._condition.wait(until_write if 0 < until_write < TICK_SECONDS else TICK_SECONDS)
        while not self._stopping and self._is_gathering():
            time.sleep(GATHERING_PAUSE_SECONDS / 4)

    def _is_gathering(self):
        now = time.monotonic()
        with self._condition:
            return self._first_told_at is not None and now < min(self._last_told_at + GATHERING_PAUSE_SECONDS,
                                                                 self._first_told_at + LONGEST_GATHERING_SECONDS)

    def _turn(self):
        self._take_settings()
        self._note_ends()
        self._take_told()
        self._look_at_allowed()
        now = time.monotonic()
        if self._settling_until is not None:
            if now < min(self._settling_until, self._last_told_at + SETTLED_SECONDS):
                return
            self._settling_until = None
            self._lifted.clear()
            self._all_lifted = False
        if self._must_write and now >= self._next_write_at:
            self._write()

    def _finish(self):
        """The last write, which cannot be tried again."""
        try:
            self._take_settings()
            self._take_told()
            if self._settling_until is not None:
                self._take_out_lifted()
            elif self._must_write:
                self._write()
        except Exception as error:
            self._tell("error", "%s; what changed last is missing in %s", reason(error), self._record.path)

    def _take_out_lifted(self):
        """Until all restored bans are in the file stays as it was, but for those that somebody lifted."""
        if not self._lifted and not self._all_lifted:
            return
        lines = [] if self._all_lifted else [line for line in self._record.read()
                                             if json.loads(line)["ip"] not in self._lifted]
        self._record.write(to_parts(self._jail.name, lines, 0))

    def _take_settings(self):
        with self._condition:
            settings, self._next_settings = self._next_settings, None
        if settings is None or settings == self._settings:
            return
        self._settings = settings
        self._record = Record(settings.state, self._jail.name)
        self._must_write = True
        self._next_look_at = self._next_write_at = self._failures = 0
        self._failure = None

    def _note_ends(self):
        """Notes the bans that fail2ban has made longer."""
        with self._condition:
            wanted, self._ends_wanted = self._ends_wanted, False
        for ticket in in_parts(self._jail.actions.banManager if wanted else (), self._make_way):
            entry, note = self._entries.get(str(ticket.getID())), self._to_note(ticket, is_new=False)
            if entry is not None and entry.end < to_end(note):
                self._note(ticket.getID(), note)

    def _take_told(self):
        """Brings what was told into the entries."""
        with self._condition:
            told, self._told = self._told, {}
            flushed, self._flush_told = self._flush_told, False
            self._first_told_at = None
            self._unrecorded += len(told) + flushed
        if flushed:
            self._entries.clear()
            self._held_back.clear()
            self._all_lifted = self._settling_until is not None
        self._must_write = self._must_write or flushed or len(told) > 0
        for address, note in in_parts(told.items(), self._make_way):
            self._take(address, note)

    def _take(self, address, note):
        if note is None:
            self._entries.pop(address, None)
            self._held_back.discard(address)
            if self._settling_until is not None:
                with contextlib.suppress(ValueError):
                    self._lifted.add(SIBLING.to_text(SIBLING.to_network(address)))
        elif note.is_new or address in self._entries:
            try:
                self._entries[address] = to_entry(address, note)
            except Exception as error:  # such as a host name, which only `usedns` or a ban by hand brings
                self._tell("error", "%s is not recorded: %s", address, reason(error))
            else:
                self._lifted.discard(SIBLING.to_text(self._entries[address].network))
                self._hold_back(address)

    def _look_at_allowed(self):
        """Sees who is allowed now. Raises what keeps it from knowing: nothing is written until it was known once."""
        begin, work = time.monotonic(), time.thread_time()
        # Between the two ends of a reload, in which its jails are idle, fail2ban has no ignoreip.
        if begin < self._next_look_at or self._allowed.is_known and self._jail.idle:
            return
        if self._allowed.look(self._settings.allow, self._make_way):
            for address in in_parts(self._entries, self._make_way):
                self._hold_back(address)
            self._must_write = True
        # A list that changes all the time must not take all the time.
        self._next_look_at = begin + max(TICK_SECONDS, 4 * (time.thread_time() - work))

    def _hold_back(self, address):
        if self._allowed.overlaps(self._entries[address].network):
            self._held_back.add(address)
        else:
            self._held_back.discard(address)

    def _make_way(self):
        """Between two parts of long work: gives fail2ban's threads their turn."""
        time.sleep(PART_PAUSE_SECONDS)

    def _write(self):
        begin = time.thread_time()
        entries, left_out = self._choose()
        self._record.write(to_parts(self._jail.name, [entry.line for entry in entries], left_out))
        self._must_write = False
        self._recorded = len(entries)
        self._unrecorded = 0
        pause = max(WRITE_PAUSE_SECONDS, WRITE_SHARE * (time.thread_time() - begin))
        self._next_write_at = time.monotonic() + pause
        self._say_left_out(left_out)
        self._recover()

    def _choose(self):
        """The entries to record, the newest of too many, and how many there is no room for."""
        now = time.time()
        chosen = [entry for address, entry in in_parts(self._entries.items(), self._make_way)
                  if entry.end > now and address not in self._held_back]
        chosen.sort()
        left_out = max(0, len(chosen) - MOST_RECORDED)
        return chosen[left_out:], left_out

    # --- what is said ---

    def _tell(self, level, message, *values):
        getattr(self._logSys, level)("[%s] honeyport-dome9: " + message, self._jail.name, *values)

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
            self._tell("notice", "%s works again, with %d bans", self._record.path, self._recorded)
        self._failures = 0
        self._failure = None

    def _say_left_out(self, left_out):
        if left_out > 0 and self._left_out == 0:
            self._tell("error", "only the newest %d bans are recorded, %d are not", MOST_RECORDED, left_out)
        elif left_out == 0 and self._left_out > 0:
            self._tell("notice", "all %d bans are recorded again", self._recorded)
        self._left_out = left_out


def in_parts(items, make_way):
    """All of `items` as they are now; `make_way` is called every few milliseconds of them."""
    for count, item in enumerate(list(items)):
        if count % ITEMS_PER_PART == ITEMS_PER_PART - 1:
            make_way()
        yield item


def reason(error):
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "%s: %s" % (type(error).__name__, error)


def to_end(note):
    return SIBLING.to_end(to_seconds(note.time), note.bantime)


def to_seconds(time_of_ticket):
    """As fail2ban's database has it, so that a restored ban is the same one."""
    return int(round(time_of_ticket))


def to_entry(address, note):
    """Raises ValueError for what is neither an address nor a network."""
    network = SIBLING.to_network(address)
    end = to_end(note)
    data = note.data if isinstance(note.data, dict) else {}
    value = {"ip": SIBLING.to_text(network), "since": to_seconds(note.time),
             "until": None if end == SIBLING.FOREVER else int(end)}
    port, decoy, event_id = (str(data.get(key, "")) for key in ("dpt", "decoy", "eventid"))
    if PORT.match(port) and int(port) <= 65535:
        value["dpt"] = int(port)
    if DECOY.match(decoy):
        value["decoy"] = decoy
    if EVENT_ID.match(event_id):
        value["id"] = event_id
    line = json.dumps(value, separators=(",", ":")).encode("ascii")
    return Entry(value["since"], line, end, network)


def to_parts(jail, lines, left_out):
    """The file, in parts of bytes, from the lines of its bans."""
    head = '{"version":1,"jail":%s,"leftOut":%d,"bans":[\n' % (json.dumps(jail), left_out)
    return [head.encode("ascii"), b",\n".join(lines) + b"\n]}\n" if lines else b"]}\n"]


SIBLING, SIBLING_PROBLEM = None, None
try:
    SIBLING = load_sibling("honeyport_nftables")
except Exception as error:  # raised here, it would stop the whole server
    SIBLING_PROBLEM = "honeyport_nftables.py of the same release must stand beside this file: %s" % error
