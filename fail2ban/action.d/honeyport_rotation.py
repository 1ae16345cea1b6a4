# Fail2Ban action for honeyport: no line is lost when a log is rotated
#
# Author:  the honeyport project
# Works with fail2ban 1.0.2 to 1.1.x.
#
# This file is replaced by upgrades. A running jail takes the new one when it restarts:
# `fail2ban-client restart honeyport`.
"""Has fail2ban read what it had not read yet of a log that is rotated.

fail2ban opens a log by its name for each read. After a rotation it begins with the new file, and the lines of the old
one that it had not read are lost, with those that the writer still adds before it opens the new file. So are, at a stop,
lines that it had read and made no bans of yet. This action loses neither. It blocks nobody; it is one more line of a
jail's `action`, beside what blocks:

    action = %(action_)s
             honeyport_rotation.py

It keeps the jail's logs open and notes how far fail2ban is. When a log is renamed or deleted, it copies the rest into a
spool file, whole lines only, and adds that file to the jail's logs (as `fail2ban-client set JAIL addlogpath` does) until
fail2ban has read it. Progress is also kept in a state file, for rotations while fail2ban is stopped.

Option spool: an absolute directory for these two files. Default: that of fail2ban's database.

Lines that fail2ban reads during the rotation may be read twice, which does nothing to a source that is banned already,
and counts twice towards a maxretry above 1. Of a source that was unbanned by hand, lines older than the unban (or
without an RFC 3339 time) are left out.

Limits: logrotate's copytruncate loses what is written or unread while it copies, and nothing can mend that. What was
rotated and compressed while fail2ban was stopped is not read. With backend = systemd there is nothing to do.
"""

import json
import os
import re
import stat
import threading
import time
from datetime import datetime
from urllib.parse import quote

from fail2ban.server.action import ActionBase
from fail2ban.server.filter import FileContainer
from fail2ban.server.observer import Observers

SAMPLE_S = 0.25
# While a rotated file waits for fail2ban to end the read that it began before the rotation.
SETTLING_SAMPLE_S = 0.02
SETTLE_S = 0.5
# A reload can break off a read, and fail2ban goes on with it only when the file changes.
NUDGE_S = 3
# How long lines stay in the spool because bans are still to be made of them: a stop would lose these.
QUEUE_S = 60
RETRY_S = 2
SAVE_S = 2
SAY_AGAIN_S = 3600
# A rotated file is kept open until its writer has left it: quiet for a minute, and an hour at most.
QUIET_S = 60
FOLLOW_S = 3600
FOLLOWED_FILES = 16
SPOOL_BYTES = 8 << 20
LONGEST_LINE = 64 << 10
UNBANS = 1000
SIBLINGS = 1000
COMPRESSED = ('.gz', '.bz2', '.xz', '.zst', '.lz', '.lz4', '.lzo', '.Z', '.zip')
# File times come from a coarser clock than ours.
CLOCK_SLACK_S = 0.1

SOURCE = re.compile(rb' src=([0-9A-Fa-f:.]+)(?: |$)')
TIME = re.compile(rb'(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)')
TIME_WITHIN = 64


class _File:
    """One generation of a log, kept open.

    `position`: fail2ban has read what is before it, or will from the spool; `banned`: and has made its bans.
    Raises OSError where it cannot be opened.
    """

    def __init__(self, path, place):
        """`path` is the log's name in the jail, `place` where the file is now."""
        self.path = path
        self.fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        status = os.fstat(self.fd)
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise OSError('%s is not a regular file' % place)
        self.identity = (status.st_dev, status.st_ino)
        self.modified = status.st_mtime
        self.size = status.st_size
        self.hash = self._first_line_hash()
        self.position = self.banned = self._to_be_banned = 0
        self.rotated = self.grown = self.read = time.monotonic()
        self.settled = False

    def close(self):
        os.close(self.fd)

    def is_at(self, place):
        try:
            status = os.stat(place)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self.identity

    def begin(self, position):
        self.position = self.banned = self._to_be_banned = position

    def sample(self, log):
        """Takes fail2ban's position where it is surely one in this file; `log` is None when the jail has ended."""
        if log is None:
            return
        told = log.getHash()
        position = log.getPos()
        # fail2ban puts the position to 0 before it changes the hash, so that one hash around it is the position's.
        if not told or log.getHash() != told:
            return
        if told != self.hash:
            self.look_again()
        if told == self.hash and position > self.position and self._ends_line(position):
            self.position = position

    def look_again(self):
        """Notes a first line that came after the file was opened, or that the file was emptied and begun anew."""
        now = self._first_line_hash()
        if now != self.hash:
            if self.hash:
                self.begin(0)
            self.hash = now

    def rotate(self):
        self.look_again()
        self.rotated = self.grown = self.read = time.monotonic()

    def settle(self, log):
        """Waits for the end of a read that fail2ban began before the rotation: it goes on in the old file."""
        now = time.monotonic()
        self.sample(log)
        if log is not None and log.getHash() == self.hash and _is_read(log):
            self.read = now
        self.settled = now - self.read >= SETTLE_S

    def note_banned(self):
        """No ban is pending: what was read when this was last called has its bans."""
        self.banned = max(self.banned, self._to_be_banned)
        self._to_be_banned = self.position

    def take(self, limit):
        """The whole lines from the position on, at most `limit` bytes."""
        data = os.pread(self.fd, limit, self.position)
        return data[: data.rfind(b'\n') + 1]

    def unread(self):
        """How many bytes are left, but for a line that has no end."""
        self._measure()
        return self.size - self.position if self.take(LONGEST_LINE) else 0

    def unbanned(self):
        self._measure()
        return self.size - self.banned

    def quiet(self):
        """For how many seconds nobody has written to it."""
        self._measure()
        return time.monotonic() - self.grown

    def _measure(self):
        size = os.fstat(self.fd).st_size
        if size != self.size:
            self.size, self.grown = size, time.monotonic()

    def _first_line_hash(self):
        # With fail2ban's own class, whatever algorithm it uses; ours would have to follow it.
        return FileContainer('/proc/self/fd/%d' % self.fd, 'utf-8').getHash()

    def _ends_line(self, position):
        return os.pread(self.fd, 1, position - 1) == b'\n'


def _is_read(log):
    """Whether fail2ban has the log open just now. That is private to it; where it is not told, lines are read twice."""
    return getattr(log, '_FileContainer__handler', None) is not None


def _siblings(path):
    """The files beside a log whose names begin with its name, as logrotate makes them, but compressed ones."""
    directory, name = os.path.split(path)
    found = []
    for entry in os.scandir(directory):
        if entry.name[: len(name)] == name and entry.name[len(name):][:1] in ('.', '-'):
            if not entry.name.endswith(COMPRESSED) and len(found) < SIBLINGS:
                found.append(entry.path)
    return found


def _time_of(line):
    """A line's time in seconds since the epoch, None where there is none in RFC 3339."""
    found = TIME.search(line, 0, TIME_WITHIN)
    if found is None:
        return None
    date, fraction, offset = (part.decode() if part else '0' for part in found.groups())
    try:
        return datetime.fromisoformat(date + offset.replace('Z', '+00:00')).timestamp() + float(fraction)
    except ValueError:
        return None


def _write_whole(path, data):
    """Replaces a file at once: nobody ever sees a part of it. Raises OSError, and then nothing has changed."""
    new = path + '.new'
    try:
        os.unlink(new)
    except FileNotFoundError:
        pass
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, 'wb') as file:
            file.write(data)
        os.rename(new, path)
    except OSError:
        os.unlink(new)
        raise


def _read_own(path, limit):
    """A file that an earlier run left; empty where there is none. Raises OSError where it is not ours."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return b''
    with os.fdopen(fd, 'rb') as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise OSError('%s is not a file of this user' % path)
        return file.read(limit)


class Action(ActionBase):
    """See the module. Nothing here raises into fail2ban but ValueError for a bad option."""

    # fail2ban compares it with that of tickets.
    banEpoch = 0

    def __init__(self, jail, actname, /, spool=None, port=None, protocol=None, name=None, chain=None):
        """`spool`: see the module; the others are what jail.conf gives to every action, and not used."""
        super().__init__(jail, actname)
        self._directory = self._choose_directory(spool)
        base = 'honeyport-rotation-' + quote(jail.name, safe='')
        self._spool = os.path.join(self._directory or '', base + '.log')
        self._state = os.path.join(self._directory or '', base + '.state')
        # What fail2ban is to read, and the server's threads that ask for a change of it or unban.
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = None
        self._current = {}
        self._gone = set()
        self._rotated = []
        self._carried = b''
        self._spooled = False
        self._next_nudge = self._queue_deadline = self._next_try = self._next_save = 0
        self._unbans = {}
        self._all_unbanned = 0
        # What an earlier run knew: its positions by path and hash, and when that was.
        self._known = {}
        self._known_at = float('inf')
        # In which file and where fail2ban itself goes on, asked before it does.
        logs = getattr(jail.filter, 'getLogs', list)()
        self._resumed = {log.getFileName(): (log.getHash(), log.getPos()) for log in logs}
        self._resumed_at = time.time()
        self._seen = {}
        self._saved = None
        self._said = {}
        # fail2ban starts an action with its jail, and never one that is added to a running jail.
        if jail.actions.active:
            self.start()

    def start(self):
        """Begins to watch; does nothing with a backend that reads no files."""
        if self._thread is not None or not hasattr(self._jail.filter, 'getLogs'):
            return
        if self._directory is None:
            self._complain('fail2ban has no database to spool beside: write honeyport_rotation.py[spool="DIRECTORY"]')
            return
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name='f2b/rotation', daemon=True)
        self._thread.start()

    def stop(self):
        """Ends the watch; what is not read yet is kept for the next start."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(10)
            self._thread = None

    def ban(self, aInfo):
        """Blocks nobody."""

    def unban(self, aInfo):
        """Notes who was unbanned by hand, not by time, and not because the jail ends."""
        now = time.time()
        bantime = int(aInfo['bantime'])
        if not self._is_in_force() or (bantime != -1 and aInfo['time'] + bantime <= now):
            return
        with self._lock:
            address = str(aInfo['ip'])
            self._unbans.pop(address, None)
            self._unbans[address] = now
            if len(self._unbans) > UNBANS:
                # No room for all: what is older than the oldest is not read again, whoever it is.
                oldest = next(iter(self._unbans))
                self._all_unbanned = max(self._all_unbanned, self._unbans.pop(oldest))
            self._next_save = 0

    def flush(self):
        """All are unbanned: by `unban --all`, or because the jail ends."""
        if self._is_in_force():
            with self._lock:
                self._all_unbanned = time.time()
                self._next_save = 0
        return True

    def clearAllParams(self):
        """A reload begins: tells of the spool, as the configuration does of each log, that it stays."""
        with self._lock:
            if self._spool in getattr(self._jail.filter, '_reload_logs', ()):
                self._jail.filter.addLogPath(self._spool)

    def reload(self, spool=None, **others):
        """A reload ends. fail2ban keeps the action only because this method exists."""
        if spool is not None and spool != self._directory:
            self._complain('spool=%s takes effect when the jail restarts' % spool)

    def _is_in_force(self):
        """Not so when the jail ends, or a reload drops the action: both let all go, and mean nobody."""
        return self._jail.actions.active and not hasattr(self._jail.actions, '_reload_actions')

    def _choose_directory(self, spool):
        if spool is not None:
            if not os.path.isabs(spool) or not os.path.isdir(spool):
                raise ValueError('spool: expected the absolute path of a directory, got %r' % spool)
            return spool
        database = self._jail.database
        if database is None or not os.path.isabs(database.filename):
            return None
        return os.path.dirname(database.filename)

    def _run(self):
        try:
            self._restore()
            while not self._stopping.wait(self._pause()):
                if self._jail.filter.active:
                    for step in (self._look, self._save_if_due, self._feed, self._let_go):
                        self._try(step)
            self._keep_for_next_start()
        except Exception as error:
            self._complain(error)

    def _pause(self):
        return SAMPLE_S if all(file.settled for file in self._rotated) else SETTLING_SAMPLE_S

    def _try(self, step, *args):
        try:
            step(*args)
        except Exception as error:
            self._complain(error)

    def _look(self):
        logs = {log.getFileName(): log for log in self._jail.filter.getLogs()}
        logs.pop(self._spool, None)
        # Asked first: only bans of what is read before the question are in its answer.
        banned = self._has_made_bans()
        for path, log in logs.items():
            self._try(self._watch, path, log)
        # Not at once: a jail that ends drops its logs just before it says so.
        gone = self._current.keys() - logs.keys()
        for path in gone & self._gone:
            self._current.pop(path).close()
        self._gone = gone
        for file in self._rotated:
            if not file.settled:
                file.settle(logs.get(file.path))
        if banned:
            for file in self._all_files():
                file.note_banned()

    def _has_made_bans(self):
        """Whether no ban is pending, and a start of fail2ban would know them all.

        Another thread writes them into the database. At its end fail2ban stops that one first, and goes on to ban.
        """
        observer = Observers.Main
        recorded = observer is not None and observer.active and not observer.is_full
        return recorded and not self._jail.hasFailTickets

    def _all_files(self):
        return [*self._rotated, *self._current.values()]

    def _watch(self, path, log):
        """Samples the file that a path names, and takes note of its rotation."""
        since = self._seen.get(path, self._unseen_since(path))
        changed = path not in self._seen
        self._seen[path] = time.time()
        file = self._current.get(path)
        if file is not None and not file.is_at(path):
            file.rotate()
            self._rotated.append(self._current.pop(path))
            file, changed = None, True
        if file is None:
            file = self._open(path, log)
            changed = changed or file is not None
        else:
            file.sample(log)
        if changed:
            self._find_missed(path, since)

    def _unseen_since(self, path):
        """From when on a file of a log that was not looked at yet may have come and gone."""
        if path in self._known:
            return self._known_at
        return self._resumed_at if path in self._resumed else float('inf')

    def _open(self, path, log):
        """Begins to watch the file that a log's name leads to; None where there is none, as during a rotation."""
        try:
            file = _File(path, path)
        except FileNotFoundError:
            return None
        for old in [old for old in self._rotated if old.identity == file.identity]:
            # The name is back on an old file, and fail2ban reads it anew.
            self._forget(old)
        file.sample(log)
        # What an earlier run of fail2ban has read is behind us; what this one has read may still wait for its bans.
        hash, position = self._resumed.get(path, ('', 0))
        file.banned = min(file.position, position) if file.hash == hash else 0
        self._current[path] = file
        return file

    def _find_missed(self, path, since):
        """Takes up generations that came and went unseen, between two looks or while fail2ban was stopped."""
        positions = self._known.pop(path, {})
        positions.setdefault(*self._resumed.pop(path, ('', 0)))
        if path in self._current:
            self._carry(self._current[path], positions.get(self._current[path].hash))
        hashes = {file.hash for file in self._all_files()} | {''}
        for hash in hashes:
            positions.pop(hash, None)
        found = []
        for place in set(_siblings(path)).difference(self._jail.filter.getLogPaths()):
            try:
                file = _File(path, place)
            except OSError:
                continue
            known = file.hash in positions
            if file.hash not in hashes and (known or file.modified >= since - CLOCK_SLACK_S):
                hashes.add(file.hash)
                file.begin(positions.pop(file.hash, 0))
                found.append(file)
            else:
                file.close()
        self._rotated += sorted(found, key=lambda file: file.modified)
        if positions:
            self._logSys.warning(
                '[%s] %s was rotated while fail2ban was stopped, and what it was renamed to is not found uncompressed '
                'beside it: lines may not have been read', self._jail.name, path)

    def _carry(self, file, banned):
        """Takes up what an earlier run had read and not banned yet: fail2ban goes on after it."""
        if banned is not None:
            read = os.pread(file.fd, min(max(file.banned - banned, 0), SPOOL_BYTES), banned)
            self._carried += read[: read.rfind(b'\n') + 1]

    def _feed(self):
        """Has fail2ban read what it would not read by itself, one spool file after the other."""
        if self._spooled:
            if self._is_done():
                self._remove_spool()
            return
        if time.monotonic() < self._next_try:
            return
        self._next_try = time.monotonic() + RETRY_S
        if self._carried:
            self._hand_over(self._without_unbanned(self._carried))
            self._carried = b''
            if not self._spooled:
                self._remove_spool()
        for file in self._rotated:
            if self._spooled or not file.settled:
                continue
            lines = file.take(SPOOL_BYTES)
            if lines:
                self._hand_over(self._without_unbanned(lines))
                file.position += len(lines)
        self._next_try = 0

    def _hand_over(self, lines):
        """Has fail2ban read these lines. Raises OSError where they cannot be spooled."""
        if not lines:
            return
        # fail2ban's database knows a file by its first line, and would go on in a new one where it was in the old.
        header = '# %s: lines of rotated logs for fail2ban, removed when it has read them\n' % os.urandom(8).hex()
        _write_whole(self._spool, header.encode() + lines)
        self._logSys.info('[%s] %d bytes of rotated logs are still to be read', self._jail.name, len(lines))
        self._spooled = True
        self._queue_deadline = self._next_nudge = 0
        self._add_spool()

    def _add_spool(self):
        with self._lock:
            self._jail.filter.addLogPath(self._spool, tail=False, autoSeek=False)
        self._next_nudge = time.monotonic() + NUDGE_S

    def _is_done(self):
        """Whether fail2ban has read the spool and made the bans."""
        now = time.monotonic()
        log = self._jail.filter.getLog(self._spool)
        if not os.path.exists(self._spool):
            return True
        if log is None or log.getPos() < os.path.getsize(self._spool):
            if now >= self._next_nudge:
                self._nudge(log)
            return False
        self._queue_deadline = self._queue_deadline or now + QUEUE_S
        return self._has_made_bans() or now > self._queue_deadline

    def _nudge(self, log):
        if log is None:
            self._add_spool()
        elif not _is_read(log) and not self._jail.filter.idle:
            with open(self._spool, 'ab') as file:
                file.write(b'#\n')
        self._next_nudge = time.monotonic() + NUDGE_S

    def _remove_spool(self):
        with self._lock:
            # First from fail2ban: it complains of a log that is gone.
            self._jail.filter.delLogPath(self._spool)
            self._spooled = False
        if os.path.exists(self._spool):
            os.unlink(self._spool)

    def _let_go(self):
        """Closes rotated files that are done with, and those that take too long or are too many."""
        for number, file in enumerate(list(self._rotated), FOLLOWED_FILES - len(self._rotated)):
            unread = file.unread()
            if file.settled and not unread and file.quiet() > QUIET_S:
                self._forget(file)
            elif number < 0 or time.monotonic() - file.rotated > FOLLOW_S:
                self._logSys.error('[%s] a rotated %s is not followed any more, with %d bytes unread',
                                   self._jail.name, file.path, unread)
                self._forget(file)

    def _forget(self, file):
        self._rotated.remove(file)
        file.close()

    def _without_unbanned(self, lines):
        with self._lock:
            unbans, all_unbanned = dict(self._unbans), self._all_unbanned
        if not unbans and not all_unbanned:
            return lines
        return b''.join(line for line in re.findall(rb'[^\n]*\n', lines) if not _is_older(line, unbans, all_unbanned))

    def _restore(self):
        """Takes up what an earlier run left: positions, unbans, and a spool that was not read to its end."""
        try:
            state = json.loads(_read_own(self._state, SPOOL_BYTES) or b'{}')
            for path, hash, position in state.get('files', []):
                self._known.setdefault(path, {})[hash] = position
            self._known_at = state.get('time', self._known_at)
            self._unbans = state.get('unbans', {})
            self._all_unbanned = state.get('all_unbanned', 0)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            self._complain('%s is of no use: %s' % (self._state, error))
        self._carried = _read_own(self._spool, 2 * SPOOL_BYTES).partition(b'\n')[2]

    def _save_if_due(self):
        now = time.monotonic()
        if now < self._next_save:
            return
        self._next_save = now + SAVE_S
        self._save()

    def _save(self):
        with self._lock:
            state = {'unbans': dict(self._unbans), 'all_unbanned': self._all_unbanned}
        files = [*self._current.values(), *(file for file in self._rotated if file.unbanned())]
        state['files'] = [[file.path, file.hash, file.banned] for file in files]
        if state != self._saved:
            _write_whole(self._state, json.dumps({'time': time.time(), **state}).encode())
            self._saved = state

    def _keep_for_next_start(self):
        """Pending bans end with the jail, so that what comes after the last ban counts as unread."""
        for path in list(self._current):
            self._try(self._watch, path, None)
        for file in self._current.values():
            file.look_again()
        lines = [_read_own(self._spool, SPOOL_BYTES).partition(b'\n')[2] if self._spooled else self._carried]
        for file in self._rotated:
            file.begin(file.banned)
            lines.append(file.take(max(0, SPOOL_BYTES - sum(map(len, lines)))))
            file.begin(file.position + len(lines[-1]))
        if any(lines):
            _write_whole(self._spool, b'#\n' + b''.join(lines))
        self._save()
        for file in self._all_files():
            file.close()
        self._current, self._rotated, self._spooled = {}, [], False

    def _complain(self, problem):
        """Says what went wrong, the same once an hour."""
        now = time.monotonic()
        if now - self._said.get(str(problem), float('-inf')) > SAY_AGAIN_S:
            self._said = {text: at for text, at in self._said.items() if now - at <= SAY_AGAIN_S}
            self._said[str(problem)] = now
            self._logSys.error('[%s] rotation of logs: %s', self._jail.name, problem)


def _is_older(line, unbans, all_unbanned):
    """Whether a line's source was unbanned by hand after it; where its time cannot be read, a ban would be worse."""
    source = SOURCE.search(line)
    if source is None:
        return False
    since = max(unbans.get(source.group(1).decode(), 0), all_unbanned)
    written = _time_of(line)
    return since > 0 and (written is None or written <= since)
