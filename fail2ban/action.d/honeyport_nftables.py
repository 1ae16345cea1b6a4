"""Fail2Ban action for honeyport: blocks thousands of addresses in seconds, with nftables

A stock action starts a shell for each ban, which makes about 85 bans a second. This one runs inside the fail2ban
server: ban and unban only note what is wanted and return; a thread brings the kernel to it, everything that has
gathered in one nft transaction.

Each jail has a chain and sets of its own in one table, so that an address in two jails stays blocked until both let
it go. The chain hooks prerouting before conntrack and DNAT: what comes in, what is forwarded (to containers, too) and
what belongs to open connections. The kernel's own timeouts end the bans of a fail2ban that was killed.

Until a ban is there, a second after the knock, the kernel itself blocks whoever completes a handshake with a decoy that
listens on all addresses, from the next packet on: the quarantine. It knows these sockets by the mark that the listener
gives them (`mark` in honeyport.yaml). A false block is worse than a late one: it is in force only while everybody is
known who must not be blocked.

Author:  the honeyport project
Works with fail2ban 1.0.2 to 1.1.x and nft 1.0.6 or later.

This file is replaced by upgrades; options go into the jail:

    banaction = honeyport_nftables.py[mode=observe, prefix6=64]

Options
    mode       block: drop or reject; observe: count and log, let everything through. Default: block
    blocktype  drop: silence; reject: a TCP reset or "administratively prohibited". Default: drop
    prefix6    length of the prefix that a ban of one IPv6 address blocks, 32 to 128; the prefix is let go
               with the last of its banned addresses. Default: 128, the address alone
    table      name of the table, of the family inet. Default: honeyport
    chain      the jail's chain is <chain>.<jail>. Default: prerouting
    log        the file that gets a line for each ban and unban, or off. Default: /var/log/honeyport/bans.log
    sensor     this host's name in those lines. Default: the host's name
    allow      the listener's exported allow list: auto, an absolute path, or off; auto is the file beside each log of
               the jail with .allow.json in the place of .log. Default: auto
    quarantine seconds for which the kernel blocks whoever completes a handshake with a decoy, for every port but the
               decoys', in the one jail that reads the listener's log and allow list; 0: it does not. Default: 30
    mark       the mark of the decoys' sockets, `mark` in honeyport.yaml. Default: 0x686f6e65
    nft        the program. Default: nft
"""

import collections
import contextlib
import errno
import functools
import hashlib
import ipaddress
import json
import os
import random
import re
import socket
import stat
import string
import struct
import subprocess
import threading
import time

from fail2ban.server.action import ActionBase

# Before conntrack (-200) and DNAT (-100), even before the raw table (-300).
PRIORITY = -310

# After DNAT and redirection (-100) and the tproxy rules of `ports: unused` (-90), where a packet has found its socket.
QUARANTINE_PRIORITY = -80
# After prerouting, before most filters.
KNOCKS_PRIORITY = -5
# 10 MB of kernel memory for each family; whoever comes when it is full waits for his ban as without a quarantine.
MOST_QUARANTINED = 65_536
# One for each SYN, which may be forged, to a decoy: 20 MB for each family. More than there are ports.
MOST_HANDSHAKES = 131_072
# From a SYN to what follows the handshake.
HANDSHAKE_SECONDS = 10
LONGEST_QUARANTINE_SECONDS = 3600
# The quarantine ends so soon after a fail2ban that was killed, which can no longer suspend it.
ARMED_SECONDS = 60
REARM_SECONDS = 20
# After something failed that only the quarantine needs. Bans wait for it no longer than the second.
QUARANTINE_RETRY_SECONDS = 60
QUARANTINE_NFT_TIMEOUT_SECONDS = 5
EXEMPT_PER_SCRIPT = 1000
# A SYN cookie is taken for two minutes (TCP_SYNCOOKIE_VALID of linux/include/net/tcp.h); until then it can be guessed.
COOKIE_SECONDS = 130
# The listener writes its list every 20 minutes, whether or not it has changed.
STALE_EXPORT_SECONDS = 45 * 60
LEAST_SECONDS_BETWEEN_FULL = 60

# fail2ban lifts a ban itself, and the kernel must not be the first to forget. An address that is found again is banned
# for longer without a word to the actions, unless that is more than three seconds later (see consistencyCheck).
KERNEL_GRACE_SECONDS = 30

# Nothing that needs an end lasts longer; beyond it nft's milliseconds could overflow.
LONGEST_TIMEOUT_SECONDS = 100 * 365 * 86400

# A transaction of 8,192 networks takes 0.1 s, in which an unban waits. A container without privileges cannot send as
# much at once; the number is halved there until it fits.
MOST_NETWORKS_PER_TRANSACTION = 8192
LEAST_NETWORKS_PER_TRANSACTION = 64

# About 100 MB of kernel memory. A jail that has more of them is misconfigured, or under an attack that fail2ban's own
# memory does not survive.
MOST_NETWORKS = 500_000

MOST_WAITING_LINES = 100_000
MOST_GATHERED_LINES = 10_000

# How long fail2ban's thread for actions may sleep before it looks for found addresses. Its own 2 s let it sleep 0.2,
# then 0.4, then 0.6 s; with less than 0.2 s it looks every 0.2 s, which costs a thousandth of a core.
LONGEST_SLEEP_SECONDS = 0.1

# A transaction waits until no ban has come for the first, and no longer than the second: in a burst each one takes
# time from fail2ban's threads.
GATHERING_PAUSE_SECONDS = 0.01
LONGEST_GATHERING_SECONDS = 0.1

# More than the listener exports: it takes 250,000 entries, with 64 addresses of each of 1,000 host names, 100 ranges of
# ports in one entry and 8,192 in all.
MOST_EXPORTED_BYTES = 64 << 20
MOST_EXPORTED_ENTRIES = 400_000
MOST_LINE_BYTES = 4096

# Networks in each other make more of them than there are entries, and the kernel takes time that grows with the square.
MOST_PORT_ELEMENTS = 8192
MOST_PORT_WORK = 32 * MOST_PORT_ELEMENTS
TOO_MANY_PORTS = "expected at most %d networks with ranges of ports" % MOST_PORT_ELEMENTS

# To take so many out of an interval set takes 0.2 s and more, the time of the square; beyond it the set is filled anew.
MOST_DELETED_INTERVALS = 500

# Between two parts of long work bans are brought to the kernel, and fail2ban's threads get their turn: for each
# system call one of them waits until we let go of the interpreter. A part is some milliseconds, a line that is known
# counts as one, any other as the second number.
LINES_PER_PART = 4096
COST_OF_NEW_LINE = 32
PART_PAUSE_SECONDS = 0.001

# What goes into one transaction where everybody who is allowed at once is too much for a container without privileges.
ALLOWED_PER_SCRIPT = 1000
# What was removed, sets, the few allowed ones of each kind, rules.
SCRIPTS_OF_EMPTY_BUILD = 11

# Files that honeyport_rotation.py gives the jail to read for a moment.
SPOOL_PREFIX = "honeyport-rotation-"

# Of a file that an unprivileged user wrote.
MOST_QUOTED_CHARACTERS = 60

TICK_SECONDS = 1
LONGEST_RETRY_SECONDS = 60
NFT_TIMEOUT_SECONDS = 30
LAST_NFT_TIMEOUT_SECONDS = 10

# What a killed server left is replaced when the restored bans are in: nothing was banned for a while, or this is over.
SETTLED_SECONDS = 3
LONGEST_SETTLING_SECONDS = 60

Ban = collections.namedtuple("Ban", "end count cause restored")
"""end: seconds since the epoch, or FOREVER; cause: id of the line that led to it, or None"""

FOREVER = float("inf")


class Settings:
    """The options, checked. Two are equal when they say the same."""

    def __init__(self, table="honeyport", chain="prerouting", mode="block", blocktype="drop", prefix6="128",
                 log="/var/log/honeyport/bans.log", sensor=None, allow="auto", quarantine="30", mark="0x686f6e65",
                 nft="nft", **ignored):
        unknown = set(ignored) - {"port", "protocol", "name"}
        if unknown:
            raise ValueError("Expected an option of honeyport_nftables, got %s" % ", ".join(sorted(unknown)))
        # `%(action_)s` of jail.conf hands this tag to every action.
        chain = "prerouting" if chain == "<known/chain>" else chain
        self.table = self._name("table", table)
        self.chain = self._name("chain", chain)
        self.mode = self._choice("mode", mode, ("block", "observe"))
        self.blocktype = self._choice("blocktype", blocktype, ("drop", "reject"))
        self.prefix6 = self._length("prefix6", prefix6)
        self.log = self._path("log", log)
        self.sensor = self._sensor(sensor)
        self.allow = allow if allow == "auto" else self._path("allow", allow)
        self.quarantine_seconds = self._number("quarantine", quarantine, 0, LONGEST_QUARANTINE_SECONDS)
        self.mark = self._number("mark", mark, 1, 0xffffffff)
        self.nft = nft

    def __eq__(self, other):
        return vars(self) == vars(other)

    @staticmethod
    def _name(option, value):
        if re.match(r"[A-Za-z][A-Za-z0-9_-]{0,63}\Z", value):
            return value
        raise ValueError("%s: expected letters, digits, _ and -, got %r" % (option, value))

    @staticmethod
    def _choice(option, value, choices):
        if value in choices:
            return value
        raise ValueError("%s: expected %s, got %r" % (option, " or ".join(choices), value))

    @staticmethod
    def _length(option, value):
        if re.match(r"\d{1,3}\Z", str(value)) and 32 <= int(value) <= 128:
            return int(value)
        raise ValueError("%s: expected a length from 32 to 128, got %r" % (option, value))

    @staticmethod
    def _number(option, value, least, most):
        """A decimal or, with 0x, hexadecimal number."""
        if re.match(r"(?:0[xX][0-9A-Fa-f]{1,8}|0|[1-9]\d{0,9})\Z", str(value)) and least <= int(str(value), 0) <= most:
            return int(str(value), 0)
        raise ValueError("%s: expected a number from %s to %s, got %r" % (option, least, most, value))

    @staticmethod
    def _path(option, value):
        if value == "off":
            return None
        if value.startswith("/"):
            return value
        choices = "auto, an absolute path or off" if option == "allow" else "an absolute path or off"
        raise ValueError("%s: expected %s, got %r" % (option, choices, value))

    @staticmethod
    def _sensor(value):
        name = re.sub(r"[^A-Za-z0-9._-]", "-", value or socket.gethostname())[:255]
        return name or "localhost"


class Ruleset:
    """One jail's chain and sets as nft scripts; knows nothing of the kernel's state.

    A network's set is named by family and prefix length, so that networks of one set never overlap and need no
    intervals, which nft would have to read before each change. Of those who are never blocked only networks are in
    such sets: with 100,000 elements in one, each transaction, of any set, takes half a second. Single addresses,
    which are the most, have a set of their own.
    """

    # Whoever is in `spared` may be blocked, but never by the quarantine.
    ALLOW_SETS = {name % version: content % version
                  for name, content in (("allow_ipv%d", "type ipv%d_addr; flags interval;"),
                                        ("allow_ipv%d_host", "type ipv%d_addr;"),
                                        ("allow_ipv%d_port", "type ipv%d_addr . inet_service; flags interval;"),
                                        ("spared_ipv%d", "type ipv%d_addr; flags interval;"))
                  for version in (4, 6)}

    def __init__(self, settings, jail):
        self.settings = settings
        self.jail = self._identifier(jail)
        self.table = "inet %s" % settings.table
        self.chain = "%s %s.%s" % (self.table, settings.chain, self.jail)
        self.kinds = {(4, 32), (6, 128), (6, settings.prefix6)}
        self.quarantine = QuarantineRuleset(self)

    @staticmethod
    def _identifier(jail):
        """A jail may have any name; two different ones never get the same identifier."""
        bare = re.sub(r"[^A-Za-z0-9_-]", "_", jail)[:64]
        return bare if bare == jail else "%s.%s" % (bare, hashlib.sha256(jail.encode("utf-8")).hexdigest()[:12])

    def network(self, address):
        """What a ban of `address` (an ipaddress network) blocks; never all link-local ones, which routers have, too."""
        wide = address.version == 6 and not address.is_link_local
        if wide and address.prefixlen > self.settings.prefix6:
            return address.supernet(new_prefix=self.settings.prefix6)
        return address

    def has_set_for(self, network):
        return (network.version, network.prefixlen) in self.kinds

    def add_set_for(self, network):
        """From now on `build` makes a set for networks of this length, too."""
        self.kinds.add((network.version, network.prefixlen))

    def build(self, allowed, keep_bans):
        """Makes the table, or what is missing in it, and the chain anew: scripts for one transaction.

        Where they are too much for one, each may be a transaction of its own: nobody is blocked by the first ones, and
        the last one begins to block when everybody who is allowed is in place.
        """
        lines = ["add table %s" % self.table] + self._remove_chains()
        lines += self.quarantine.remove_sets() if self.settings.quarantine_seconds == 0 else []
        lines += ["add chain %s { type filter hook prerouting priority %d; policy accept; }" % (self.chain, PRIORITY)]
        for name, content in self.ALLOW_SETS.items():
            lines += ["add set %s { %s }" % (self.own(name), content), "flush set %s" % self.own(name)]
        for kind in sorted(self.kinds):
            lines.append("add set %s { type ipv%d_addr; flags timeout; }" % (self.kind_set(kind), kind[0]))
            lines += [] if keep_bans else ["flush set %s" % self.kind_set(kind)]
        rules = ["add rule %s %s" % (self.chain, rule) for rule in self._rules()]
        return ["\n".join(part) + "\n" for part in (lines, *self._split(allowed), rules)]

    def _split(self, allowed):
        for name, elements in allowed.items():
            ordered = sorted(elements)
            for start in range(0, len(ordered), ALLOWED_PER_SCRIPT):
                yield elements_of("add", self.own(name), ordered[start:start + ALLOWED_PER_SCRIPT])

    def allow(self, before, after):
        """Changes who is never blocked by this jail from what it was: elements by set, as of `to_elements`.

        It is one transaction, so that nobody who stays allowed is out for a moment, and all that goes goes first:
        networks of one set must not overlap.
        """
        gone, come = [], []
        for name, content in self.ALLOW_SETS.items():
            allow_set, deleted, added = self.own(name), before[name] - after[name], after[name] - before[name]
            if "interval" in content and len(deleted) > MOST_DELETED_INTERVALS:
                gone += ["flush set %s" % allow_set]
                deleted, added = (), after[name]
            gone += elements_of("delete", allow_set, sorted(deleted))
            come += elements_of("add", allow_set, sorted(added))
        return "\n".join(gone + come) + "\n"

    def change(self, ends, now):
        """Blocks each network of `ends` until then, and lets go those whose end is None or past.

        Adding before deleting makes deleting succeed whether or not the element was there, and nft before 1.1 keeps
        the old timeout of an element that is added again.
        """
        lines = []
        by_kind = collections.defaultdict(dict)
        for network, end in ends.items():
            by_kind[(network.version, network.prefixlen)][str(network.network_address)] = end
        for kind, elements in by_kind.items():
            name = self.kind_set(kind)
            timed = ["%s%s" % (key, self._timeout(end, now)) for key, end in elements.items() if is_running(end, now)]
            lines += elements_of("add", name, elements)
            lines += elements_of("delete", name, elements)
            lines += elements_of("add", name, timed)
        return "\n".join(lines) + "\n"

    def remove(self):
        """Takes back the chains and the sets, whether or not they are there; the table stays."""
        lines = ["add table %s" % self.table] + self._remove_chains() + self.quarantine.remove_sets()
        sets = [(self.own(name), content) for name, content in self.ALLOW_SETS.items()]
        sets += [(self.kind_set(kind), "type ipv%d_addr; flags timeout;" % kind[0]) for kind in sorted(self.kinds)]
        return "\n".join(lines + remove_sets(sets)) + "\n"

    def _remove_chains(self):
        """The quarantine's first, which lets through whom these sets name."""
        return remove_chains(self.quarantine.chains + [self.chain])

    def _rules(self):
        # What the host says to itself never left it.
        rules = ['iif "lo" return', NEIGHBOURS_RULE]
        for version in (4, 6):
            rules += ["%s saddr @allow_ipv%d%s.%s return" % (keyword(version), version, kind, self.jail)
                      for kind in ("_host", "")]
        # A fragment has no ports, but for the first one; conntrack, where it is in use, has joined them before.
        for version, whole in ((4, "ip frag-off & 0x3fff == 0"), (6, "exthdr frag missing")):
            rules += ["%s meta l4proto { tcp, udp } %s saddr . th dport @allow_ipv%d_port.%s return" %
                      (whole, keyword(version), version, self.jail)]
        for kind in sorted(self.kinds, reverse=True):
            rules += ["%s counter%s" % (self.match(kind), verdict) for verdict in self.verdicts()]
        return rules

    def match(self, kind, purpose="ban"):
        """Packets from a network of one kind that is in the set for a purpose."""
        version, length = kind
        return "%s @%s" % (source_of(version, length), bare_name(self.kind_set(kind, purpose)))

    def verdicts(self):
        if self.settings.mode == "observe":
            return [""]
        if self.settings.blocktype == "drop":
            return [" drop"]
        # The first one ends the rule set for TCP.
        return [" meta l4proto tcp reject with tcp reset", " reject with icmpx admin-prohibited"]

    def own(self, name):
        return "%s %s.%s" % (self.table, name, self.jail)

    def kind_set(self, kind, purpose="ban"):
        """The set of networks of one version and length."""
        version, length = kind
        return self.own("%s_ipv%d%s" % (purpose, version, "" if length == LENGTHS[version] else "_%d" % length))

    @staticmethod
    def _timeout(end, now):
        seconds = end - now + KERNEL_GRACE_SECONDS
        return " timeout %ds" % (seconds + 1) if seconds < LONGEST_TIMEOUT_SECONDS else ""


# The router may stand in a blocked prefix; what finds neighbours never comes from beyond the wire.
NEIGHBOURS_RULE = "ip6 hoplimit 255 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } return"


class QuarantineRuleset:
    """The quarantine's chains and sets of one jail, beside the chain for bans and with its sets of whom not to block.

    A SYN to a marked listener is noted with its ports. What follows a handshake, a packet that belongs to a marked
    socket which is no listener, puts its source into the quarantine only if its SYN was: so a connection from before
    the quarantine, or from before an unban, never does, however long it stays open.
    """

    # Of the kernel's own making.
    SETS = {name % version: content % version
            for name, content in (
                ("quarantine_ipv%d", "type ipv%%d_addr; size %d; flags dynamic,timeout;" % MOST_QUARANTINED),
                ("handshakes_ipv%d", "type ipv%%d_addr . inet_service . inet_service; size %d; flags dynamic,timeout;" %
                 MOST_HANDSHAKES))
            for version in (4, 6)}
    # Holds `tcp` as long as the kernel may quarantine by itself.
    SETS["quarantine_armed"] = "type inet_proto; flags timeout;"

    def __init__(self, ruleset):
        self._ruleset = ruleset
        self._settings = ruleset.settings
        self._knocks, self._peers, self._quarantine, self._quarantined = self.chains = [
            "%s %s-%s.%s" % (ruleset.table, self._settings.chain, name, ruleset.jail)
            for name in ("knocks", "peers", "quarantine", "quarantined")]
        self.exempt_seconds = max(self._settings.quarantine_seconds, HANDSHAKE_SECONDS) + 1

    def build(self):
        """Makes all of it anew, with nobody in it and not armed; the bans' rules must be there."""
        lines = remove_chains(self.chains)
        for name, content in self._sets():
            lines += ["add set %s { %s }" % (name, content), "flush set %s" % name]
        lines.append("add counter %s" % self._full())
        for chain, hook, priority in ((self._knocks, "input", KNOCKS_PRIORITY),
                                      (self._quarantine, "prerouting", QUARANTINE_PRIORITY)):
            lines.append("add chain %s { type filter hook %s priority %d; policy accept; }" % (chain, hook, priority))
        lines += ["add chain %s" % self._peers, "add chain %s" % self._quarantined]
        for chain, rules in ((self._knocks, self._knock_rules()), (self._peers, self._peer_rules()),
                             (self._quarantine, self._quarantine_rules()),
                             (self._quarantined, self._quarantined_rules())):
            lines += ["add rule %s %s" % (chain, rule) for rule in rules]
        return "\n".join(lines) + "\n"

    def arm(self, anew):
        """Lets the kernel quarantine for a while; prints for how many packets there was no room since the last time.

        anew: it was not armed, and may hold what it held before
        """
        armed = self._ruleset.own("quarantine_armed")
        return (self.disarm() if anew else "") + renew(armed, ["tcp"], ARMED_SECONDS) + \
            "reset counter %s\n" % self._full()

    def disarm(self):
        """From now on nobody is quarantined, and nobody is any longer."""
        return "".join("flush set %s\n" % self._ruleset.own(name) for name in self.SETS)

    def exempt(self, networks):
        """Frees whoever a ban lets go until the quarantine before it is over, and the SYN before that forgotten."""
        by_kind = collections.defaultdict(list)
        for network in networks:
            by_kind[(network.version, network.prefixlen)].append(str(network.network_address))
        return "".join(renew(self._ruleset.kind_set(kind, "unbanned"), elements, self.exempt_seconds)
                       for kind, elements in by_kind.items())

    def remove_sets(self):
        """The chains must have gone before."""
        return ["add counter %s" % self._full(), "delete counter %s" % self._full()] + remove_sets(self._sets())

    def _sets(self):
        sets = [(self._ruleset.own(name), content) for name, content in self.SETS.items()]
        return sets + [(self._ruleset.kind_set(kind, "unbanned"), "type ipv%d_addr; size %d; flags timeout;" % (
            kind[0], MOST_QUARANTINED)) for kind in sorted(self._ruleset.kinds)]

    def _full(self):
        return self._ruleset.own("quarantine_full")

    def _knock_rules(self):
        # What the host says to itself never left it.
        return ['iif "lo" return', "meta l4proto @quarantine_armed.%s socket mark %d goto %s" % (
            self._ruleset.jail, self._settings.mark, bare_name(self._peers))]

    def _peer_rules(self):
        jail, seconds = self._ruleset.jail, self._settings.quarantine_seconds
        # Of a listener on all addresses only what is no packet of its own has no wildcard; a half of a handshake is no
        # socket that bears a mark.
        opens, follows = "tcp flags & (fin | syn | rst | ack) == syn socket wildcard 1", "socket wildcard 0"
        full = "counter name %s return" % bare_name(self._full())
        rules = self._exempt_rules()
        for version in (4, 6):
            ends = "%s saddr . tcp sport . tcp dport" % keyword(version)
            handshakes, quarantine = ("%s_ipv%d.%s" % (name, version, jail) for name in ("handshakes", "quarantine"))
            # Of who is in quarantine as well: by it the rest of his handshake is let through.
            rules.append("%s update @%s { %s timeout %ds } return" % (opens, handshakes, ends, HANDSHAKE_SECONDS))
            for condition, source in self._sources(version):
                rules.append("%s%s @%s return" % (condition, source, quarantine))
                rules.append("%s %s%s @%s update @%s { %s timeout %ds } return" % (
                    follows, condition, ends, handshakes, quarantine, source, seconds))
            # Only who found no place gets past an update.
            rules.append("%s %s @%s %s" % (follows, ends, handshakes, full))
        return rules + ["%s %s" % (opens, full)]

    def _quarantine_rules(self):
        rules = ['iif "lo" return']
        for version in (4, 6):
            rules += ["%s%s @quarantine_ipv%d.%s goto %s" % (
                condition, source, version, self._ruleset.jail, bare_name(self._quarantined))
                for condition, source in self._sources(version)]
        return rules

    def _quarantined_rules(self):
        # A connection to a decoy ends in order, and the next knock is seen: its SYN and what follows the handshake by the
        # mark, and between them, when there is no socket that bears one, by the SYN. What is forwarded may meet a
        # listener's port and mark, too: it goes to another host, unless tproxy gave it to us.
        known = ["socket mark %d" % self._settings.mark]
        known += ["%s saddr . tcp sport . tcp dport @handshakes_ipv%d.%s" % (
            keyword(version), version, self._ruleset.jail) for version in (4, 6)]
        decoy = ["meta l4proto tcp %s %s return" % (condition, sign)
                 for condition in ("fib daddr type local", "socket transparent 1") for sign in known]
        return [NEIGHBOURS_RULE] + self._exempt_rules() + decoy + [
            "counter%s" % verdict for verdict in self._ruleset.verdicts()]

    def _exempt_rules(self):
        rules = ["%s saddr @%s_ipv%d%s.%s return" % (keyword(version), purpose, version, kind, self._ruleset.jail)
                 for version in (4, 6) for purpose, kind in (("allow", "_host"), ("allow", ""), ("spared", ""))]
        return rules + ["%s return" % self._ruleset.match(kind, "unbanned")
                        for kind in sorted(self._ruleset.kinds, reverse=True)]

    def _sources(self, version):
        """What of a packet is quarantined, as of `Ruleset.network`, each with its condition."""
        length = 32 if version == 4 else self._settings.prefix6
        if length == LENGTHS[version]:
            return [("", source_of(version, length))]
        return [("ip6 saddr fe80::/10 ", source_of(6, 128)), ("ip6 saddr != fe80::/10 ", source_of(6, length))]


def remove_chains(chains):
    """Whether or not they are there; they may lead to each other."""
    return ["%s chain %s" % (verb, chain) for verb in ("add", "flush") for chain in chains] + \
        ["delete chain %s" % chain for chain in chains]


def remove_sets(sets):
    """Whether or not they are there, from names and contents."""
    return [line for name, content in sets for line in ("add set %s { %s }" % (name, content), "delete set %s" % name)]


def elements_of(verb, name, elements):
    return ["%s element %s { %s }" % (verb, name, ", ".join(elements))] if elements else []


def renew(name, elements, seconds):
    """Adds elements with a timeout, or gives those that are there a new one, as of `Ruleset.change`."""
    timed = ["%s timeout %ds" % (element, seconds) for element in elements]
    return "\n".join(elements_of("add", name, elements) + elements_of("delete", name, elements) +
                     elements_of("add", name, timed)) + "\n"


def bare_name(name):
    """Of a chain, a set or a counter without its table, as rules have it."""
    return name.split(" ")[-1]


def source_of(version, length):
    full = ipaddress.ip_network("0.0.0.0/%d" % length if version == 4 else "::/%d" % length)
    mask = "" if length == full.max_prefixlen else " & %s" % full.netmask
    return "%s saddr%s" % (keyword(version), mask)


def keyword(version):
    return "ip" if version == 4 else "ip6"


def is_running(end, now):
    return end is not None and end > now


class NftError(Exception):
    """nft did not do it; the message says why, in a line."""

    @property
    def is_too_long(self):
        """Whether it was too much for one transaction."""
        return "Message too long" in str(self)


class Nft:
    """Runs nft, and knows whether somebody else has changed the rules since."""

    def __init__(self, program):
        self._program = program
        self._generation = None
        self.timeout_seconds = NFT_TIMEOUT_SECONDS

    def apply(self, script, timeout_seconds=None):
        """All of it or nothing; gives what it prints, raises NftError."""
        before = read_generation()
        printed = self._run(["-f", "-"], script, timeout_seconds)
        after = read_generation()
        unnoticed = before is not None and before == self._generation and after == (before + 1) % 2**32
        self._generation = after if unnoticed else None
        return printed

    def look_at_chains(self):
        """As `read_chains`, of which whoever calls sees whether they are as they were left; none where it fails."""
        generation = read_generation()
        try:
            chains = self.read_chains()
        except NftError:
            return {}
        self._generation = generation
        return chains

    def read_chains(self, timeout_seconds=None):
        """The chains of the family as text without counters, by table and name; raises NftError.

        nft 1.0.6 reads all elements of all sets, a second for 100,000, to list a chain or a table, and none for this.
        """
        text = self._run(["-s", "-t", "list", "ruleset", "inet"], "", timeout_seconds)
        chains, table, chain = collections.defaultdict(str), None, None
        for line in text.split("\n"):
            begin = re.match(r"(table inet|\tchain) (\S+) \{\Z", line)
            if begin is None:
                chain = None if line == "\t}" else chain
                if chain is not None:
                    chains[chain] += line + "\n"
            elif begin.group(1) == "\tchain":
                chain = "%s %s" % (table, begin.group(2))
                chains[chain] = ""
            else:
                table = "inet %s" % begin.group(2)
        return dict(chains)

    def is_unchanged(self):
        """Whether nobody has changed any rule of this host since our last look or transaction."""
        return self._generation is not None and self._generation == read_generation()

    def delete_table_if_empty(self, table):
        if not re.search(r"^\s+\w", self._run(["list", "table"] + table.split(" "), ""), re.MULTILINE):
            self._run(["delete", "table"] + table.split(" "), "")

    def _run(self, arguments, script, timeout_seconds=None):
        timeout = timeout_seconds or self.timeout_seconds
        try:
            done = subprocess.run([self._program] + arguments, input=script.encode("ascii"), stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=timeout, cwd="/", env=dict(os.environ, LC_ALL="C"))
        except FileNotFoundError:
            raise NftError("%s not found; apt-get install nftables" % self._program)
        except subprocess.TimeoutExpired:
            raise NftError("%s did not end within %d s" % (self._program, timeout))
        except OSError as error:
            raise NftError("%s cannot be run: %s" % (self._program, error.strerror))
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip().split("\n")[0]
            raise NftError("%s ended with %d: %s" % (self._program, done.returncode, said[:300]))
        return done.stdout.decode("utf-8", "replace")


class CookieWatch:
    """Whether the kernel has sent or taken SYN cookies of late: a handshake of such a time may have been guessed."""

    def __init__(self):
        # What was sent before the first look is taken for sent by then.
        self._count = 0
        self._rose_at = None

    def look(self):
        """Whether it may have within the time for which a cookie is taken."""
        now, count, before = time.monotonic(), self._read(), self._count
        self._count = count
        if count is None or count != before:
            self._rose_at = now
        return self._rose_at is not None and now - self._rose_at < COOKIE_SECONDS

    @staticmethod
    def _read():
        """How many there were in all, in this network namespace, or None where nobody can tell."""
        try:
            with open("/proc/self/net/netstat", encoding="ascii") as netstat:
                names, values = (next(line).split() for line in (netstat, netstat))
            counts = dict(zip(names, values))
            return int(counts["SyncookiesSent"]) + int(counts["SyncookiesRecv"])
        except (OSError, ValueError, KeyError, StopIteration):
            return None


def read_generation():
    """The number that the kernel raises with every change of rules, or None where it cannot be had.

    One request over netlink (NFT_MSG_GETGEN of linux/netfilter/nf_tables.h); nft itself has no command for it.
    """
    netfilter, getgen, request = 12, 10 << 8 | 16, 1
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, netfilter) as link:
            link.settimeout(1)
            link.sendto(struct.pack("=IHHIIBBH", 20, getgen, request, 0, 0, 0, 0, 0), (0, 0))
            # Two headers and that of the first attribute, which is the generation in network order.
            return struct.unpack_from(">I", link.recv(4096), 16 + 4 + 4)[0]
    except (OSError, struct.error):
        return None


def read_own_addresses():
    """The addresses of this host's interfaces as text, or None where they cannot be had.

    One request over netlink (RTM_GETADDR of rtnetlink(7)). What fail2ban itself takes for ignoreself asks a name server
    for the host's name, which can take 20 seconds.
    """
    new_address, get_address, done, error, dump_request = 20, 22, 3, 2, 0x301
    addresses = set()
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as link:
            link.settimeout(1)
            link.sendto(struct.pack("=IHHII8x", 24, get_address, dump_request, 0, 0), (0, 0))
            while True:
                data = link.recv(1 << 16)
                position = 0
                while position < len(data):
                    length, kind = struct.unpack_from("=IH", data, position)
                    if kind == done:
                        return addresses
                    if kind == error or length < 16:
                        return None
                    if kind == new_address:
                        addresses.add(read_address(data[position + 16:position + length]))
                    position += (length + 3) & ~3
    except (OSError, struct.error, ValueError):
        return None


def read_address(message):
    """The address in a message of rtnetlink(7): its own one (IFA_LOCAL), not the other end's of a tunnel."""
    family, attributes, position = message[0], {}, 8
    while position < len(message):
        length, kind = struct.unpack_from("=HH", message, position)
        attributes[kind] = message[position + 4:position + length]
        position += max(4, (length + 3) & ~3)
    ifa_address, ifa_local = 1, 2
    return socket.inet_ntop(family, attributes.get(ifa_local) or attributes[ifa_address])


Allowed = collections.namedtuple("Allowed", "version first length text ports until spared", defaults=(False,))
"""A network that is never blocked. first: its first address as a number; text: an address, or address/length;
ports: None for all, or disjoint (low, high) in order; until: seconds since the epoch, or FOREVER; spared: it may be
blocked, but never by the quarantine"""

LENGTHS = {4: 32, 6: 128}


def to_allowed(text, ports=None, until=FOREVER):
    """An address or network in canonical form, as nft and `ipaddress` print it. Raises ValueError for all else.

    Without `ipaddress`, which takes ten times as long.
    """
    bare, slash, length_text = text.partition("/")
    version, family = (6, socket.AF_INET6) if ":" in bare else (4, socket.AF_INET)
    longest = LENGTHS[version]
    if slash and not re.match(r"(?:0|[1-9][0-9]{0,2})\Z", length_text):
        raise ValueError("not a length")
    length = int(length_text) if slash else longest
    try:
        packed = socket.inet_pton(family, bare)
    except OSError:
        raise ValueError("not an address")
    first = int.from_bytes(packed, "big")
    canonical = socket.inet_ntop(family, packed)
    if version == 6 and "." in canonical:
        # libc writes ::/96 with dots, others do not; nobody has two names.
        canonical = str(ipaddress.ip_address(packed))
    if length > longest or first & ((1 << (longest - length)) - 1) or canonical != bare:
        raise ValueError("not canonical")
    if version == 6 and length >= 96 and first >> 32 == 0xffff:
        raise ValueError("IPv4-mapped")
    return Allowed(version, first, length, bare if length == longest else text, ports, until)


def to_elements(entries):
    """What stands in the sets of Ruleset.ALLOW_SETS, by set. Within a set nothing overlaps: the kernel wants it so."""
    elements = {name: set() for name in Ruleset.ALLOW_SETS}
    networks, spared, limited = set(), set(), collections.defaultdict(list)
    for version, first, length, text, ports, until, is_spared in entries:
        if is_spared or ports is not None:
            # Where ports are translated, what is on the list for one cannot be told from what is not.
            spared.add((version, first, length, text))
        if is_spared:
            continue
        if ports is not None:
            limited[(version, first, length, text)] += ports
        elif length == LENGTHS[version]:
            elements["allow_ipv%d_host" % version].add(text)
        else:
            networks.add((version, first, length, text))
    for purpose, among in (("allow", networks), ("spared", spared)):
        for version, text in outermost(among):
            elements["%s_ipv%d" % (purpose, version)].add(text)
    for version, text, (low, high) in split_ports(limited):
        elements["allow_ipv%d_port" % version].add("%s . %s" % (text, low if low == high else "%d-%d" % (low, high)))
    return elements


def outermost(networks):
    """Those that are in no other one."""
    end = (0, -1)
    for version, first, length, text in sorted(networks):
        if (version, first) > end:
            end = (version, last_of(version, first, length))
            yield version, text


def split_ports(limited):
    """Each network with the ports that none around it has, from lists of ranges of ports by network.

    Raises ValueError where that is too much for the kernel or for us.
    """
    around, work, count = [], 0, 0
    for (version, first, length, text), ranges in sorted(limited.items()):
        while around and (version, first) > around[-1][0]:
            around.pop()
        taken = around[-1][1] if around else []
        work += len(taken) + len(ranges)
        for left in subtract_ranges(join_ranges(ranges), taken):
            count += 1
            if count > MOST_PORT_ELEMENTS:
                break
            yield version, text, left
        if count > MOST_PORT_ELEMENTS or work > MOST_PORT_WORK:
            raise ValueError(TOO_MANY_PORTS)
        around.append(((version, last_of(version, first, length)), join_ranges(taken + ranges)))


def last_of(version, first, length):
    return first + (1 << (LENGTHS[version] - length)) - 1


def join_ranges(ranges):
    """In order, without overlaps and without neighbours."""
    joined = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return joined


def subtract_ranges(ranges, taken):
    """What of `ranges` is not in `taken`; both as of `join_ranges`."""
    for low, high in ranges:
        for first, last in taken:
            if first > high:
                break
            if last < low:
                continue
            if first > low:
                yield low, first - 1
            low = last + 1
        if low <= high:
            yield low, high


NEVER_SEEN = object()


class AllowExport:
    """The allow list that the listener exports to a file; the last good one, while the file is missing or wrong.

    The file's directory may belong to the listener's unprivileged user, who must not lead root to another file, hold it
    up, or have it say what is in a file. One entry is one line, so that of a long list only lines that are new need
    work.
    """

    def __init__(self, path, log_path, tell):
        """log_path: the log that it is beside, or None for a file that was named in the options"""
        self._path = path
        self._log_path = log_path
        self._tell = tell
        # A file beside a log that never was there is no news: the log may be another host's.
        self._identity = None if log_path is not None else NEVER_SEEN
        self._owners = {0}
        self._problem = None
        self._is_read = self._is_incomplete = False
        self._written_at = 0
        self._entries = {}
        self._active = []
        self._active_since = self._next_end = 0

    def look(self, make_way):
        """Reads the file if it changed; `make_way` is called every few milliseconds of that."""
        owners, identity = self._identify()
        if identity == self._identity:
            return
        try:
            entries, is_incomplete = self._parse(self._read(owners), make_way)
        except OSError as error:
            # It may have been the system's fault, not the file's.
            self._identity = identity if identity is None or error.errno == errno.ELOOP else ()
            self._complain("is a symbolic link" if error.errno == errno.ELOOP else error.strerror)
        except ValueError as error:
            self._identity = identity
            self._complain(str(error))
        except NftError:
            # It is from `make_way`.
            raise
        except Exception as error:  # whatever is in the file, bans go on
            self._identity = identity
            self._complain("%s: %s" % (type(error).__name__, shown(str(error))))
        else:
            self._identity = identity
            self._take(entries, is_incomplete)

    def lack(self):
        """Why the list may not be whole, or None: bans do with the last good one, the quarantine does not."""
        if self._problem is not None:
            return "%s is not good" % self._path
        if not self._is_read:
            return "there is no %s" % self._path
        if self._is_incomplete:
            return "a host name in %s has no address yet" % self._path
        # A clock that was set makes it doubtful as well.
        if abs(time.time() - self._written_at) > STALE_EXPORT_SECONDS:
            return "the listener does not write %s any more" % self._path
        return None

    @property
    def is_expected(self):
        """Whether there was a list here, or somebody named the file."""
        return self._is_read or self._problem is not None or self._log_path is None

    def active(self):
        """The entries that count now; the same list as long as they are the same."""
        now = time.time()
        if now >= self._next_end or now < self._active_since:
            entries = [entry for entry in self._entries.values() if entry.until > now]
            self._active, self._active_since = entries, now
            self._next_end = min((entry.until for entry in entries), default=FOREVER)
        return self._active

    def _identify(self):
        """Who may own the file, and what changes when anybody touches it; None where there is no file."""
        # While a log is rotated there may be none; its owner is still who he was.
        with contextlib.suppress(OSError):
            self._owners = {0, os.lstat(self._log_path or os.path.dirname(self._path)).st_uid}
        owners = self._owners
        try:
            status = os.lstat(self._path)
        except FileNotFoundError:
            return owners, None
        except OSError:
            return owners, ()
        self._written_at = status.st_mtime
        return owners, (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size, owners)

    def _read(self, owners):
        descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                raise ValueError("expected a regular file of this one name")
            if status.st_uid not in owners:
                raise ValueError("expected the owner to be %s, got %d" % (
                    " or ".join(str(owner) for owner in sorted(owners)), status.st_uid))
            if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise ValueError("expected a file that only its owner may write, got mode %o" %
                                 (status.st_mode & 0o777))
            parts, size = [], 0
            while size <= MOST_EXPORTED_BYTES:
                parts.append(os.read(descriptor, 1 << 20))
                size += len(parts[-1])
                if not parts[-1]:
                    return b"".join(parts)
            raise ValueError("expected at most %d bytes" % MOST_EXPORTED_BYTES)
        finally:
            os.close(descriptor)

    def _parse(self, data, make_way):
        """The entries by line, and whether the listener says that there are more."""
        if not data.isascii():
            raise ValueError("expected ASCII")
        count = max(0, data.count(b"\n") - 2)
        if count > MOST_EXPORTED_ENTRIES:
            raise ValueError("expected at most %d entries, got %d" % (MOST_EXPORTED_ENTRIES, count))
        lines = data.decode("ascii").rstrip("\n").split("\n")
        document = self._parse_document(lines)
        known, entries, limited, work, ranges = self._entries, {}, collections.defaultdict(list), 0, 0
        for number, line in enumerate(lines[1:-1], 1):
            is_last = number == len(lines) - 2
            bare = line if is_last else line[:-1]
            entry = known.get(bare)
            if entry is None or not (is_last or line.endswith(",")):
                entry = self._parse_entry(number, line, is_last)
                work += COST_OF_NEW_LINE
            if entry.ports is not None:
                ranges += len(entry.ports)
                if ranges > MOST_PORT_ELEMENTS:
                    raise ValueError(TOO_MANY_PORTS)
                limited[entry[:4]] += entry.ports
            entries[bare] = entry
            work += 1
            if work >= LINES_PER_PART:
                work = 0
                make_way()
        for part in split_ports(limited):
            # Only to see that it is not too much.
            pass
        return entries, document.get("incomplete", False) is not False

    @staticmethod
    def _parse_document(lines):
        """All but the entries: the first line and the last one are a document without any."""
        ends = lines[0] + "".join(lines[1:][-1:])
        document = parse_json(ends) if len(ends) <= MOST_LINE_BYTES else None
        if not isinstance(document, dict) or document.get("entries") != []:
            raise ValueError("expected a whole JSON document with one entry a line")
        if document.get("version") != 1 or isinstance(document["version"], bool):
            raise ValueError("expected version 1, got %s" % shown(document.get("version")))
        return document

    @staticmethod
    def _parse_entry(number, line, is_last):
        if len(line) > MOST_LINE_BYTES:
            raise ValueError("entry %d: expected at most %d characters, got more" % (number, MOST_LINE_BYTES))
        value = parse_json(line if is_last else line[:-1])
        if not isinstance(value, dict) or line.endswith(",") == is_last:
            raise ValueError("entry %d: expected an object on a line of its own, got %s" % (number, shown(line)))
        try:
            return to_exported(value)
        except ValueError as error:
            raise ValueError("entry %d: %s" % (number, error))

    def _take(self, entries, is_incomplete):
        self._entries = entries
        self._next_end = 0
        self._is_read, self._is_incomplete = True, is_incomplete
        if self._problem is not None:
            self._problem = None
            self._tell("notice", "%s is good again, with %d entries", self._path, len(entries))

    def _complain(self, problem):
        if problem == self._problem:
            return
        self._problem = problem
        stay = "the %d entries before stay in force" % len(self._entries) if self._is_read else "none of it is in force"
        self._tell("error", "%s: %s; %s", self._path, problem, stay)


def to_exported(value):
    """An entry of the listener's list. Raises ValueError that says what is wrong; other keys may come to be."""
    if not isinstance(value.get("by"), str):
        raise ValueError("by: expected a text, got %s" % shown(value.get("by")))
    ports, until = value.get("ports"), value.get("until", FOREVER)
    if ports is not None or "ports" in value:
        ports = to_ports(ports)
    if isinstance(until, bool) or not isinstance(until, (int, float)):
        raise ValueError("until: expected seconds since the epoch, got %s" % shown(until))
    is_spared = "only" in value
    if is_spared and value["only"] != "quarantine":
        raise ValueError("only: expected quarantine, got %s" % shown(value["only"]))
    net = value.get("net")
    try:
        if not isinstance(net, str) or "/" not in net:
            raise ValueError("not a network")
        return to_allowed(net, ports, until)._replace(spared=is_spared)
    except ValueError:
        raise ValueError("net: expected a network in canonical form, got %s" % shown(net))


PORT_RANGE = "[1-9][0-9]{0,4}(?:-[1-9][0-9]{0,4})?"


def to_ports(text):
    ranges = []
    matched = isinstance(text, str) and re.match(PORT_RANGE + "(?:," + PORT_RANGE + r")*\Z", text)
    for part in text.split(",") if matched else ():
        low, dash, high = part.partition("-")
        ranges.append((int(low), int(high or low)))
    if not ranges or any(low > high or high > 65535 for low, high in ranges):
        raise ValueError("ports: expected ports such as 22,80-90, got %s" % shown(text))
    return tuple(join_ranges(ranges))


def refuse_constant(name):
    raise ValueError("not JSON")


DECODER = json.JSONDecoder(parse_constant=refuse_constant)


def parse_json(text):
    """The value, or None for what is not JSON."""
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError):
        return None


def shown(value):
    """What may be quoted of a file that somebody else wrote."""
    try:
        text = value if isinstance(value, str) else json.dumps(value)
    except RecursionError:
        text = "something deep"
    clean = "".join(character if " " <= character <= "~" else "?" for character in text[:MOST_QUOTED_CHARACTERS])
    return clean if len(text) <= MOST_QUOTED_CHARACTERS else clean[:-3] + "..."


class AllowList:
    """Whom a jail never blocks: its ignoreip, with ignoreself this host's own addresses, and what listeners export.

    elements: by set, as of `to_elements`; the same object as long as nothing changed, None before the first look
    """

    def __init__(self, jail, tell):
        self._jail = jail
        self._tell = tell
        self._exports = {}
        self._own = None
        self._unknown = []
        self._sources = None
        self.elements = None

    def look(self, option, make_way):
        """Sees what changed; `make_way` is called every few milliseconds of long work."""
        places = self._places(option)
        self._exports = {path: self._exports.get(path) or AllowExport(path, log_path, self._tell)
                         for path, log_path in places.items()}
        for export in self._exports.values():
            export.look(make_way)
        active = [export.active() for export in self._exports.values()]
        # Last of all, since reading takes its time: between the two ends of a reload, in which its jails are idle,
        # fail2ban has no ignoreip.
        named = [str(entry) for entry in self._jail.filter.getIgnoreIP()]
        if self._jail.idle and self.elements is not None:
            return
        own = sorted(self._read_own() or ()) if self._jail.filter.ignoreSelf else []
        # The same lists of entries are the same objects: nobody compares 100,000.
        if self._sources is not None and self._sources[0] == (named, own) and len(active) == len(self._sources[1]) \
                and all(one is other for one, other in zip(active, self._sources[1])):
            return
        self._sources = (named, own), active
        known = self._to_entries(named + own)
        self._take([entry for entries in active for entry in entries] + known)

    def lack(self):
        """Why there may be more whom not to block, or None, as of the last look.

        With whether it is news: a jail beside whose log there never was a list is none of the listener's.
        """
        if not self._exports:
            return "no allow list of the listener is known", False
        for export in self._exports.values():
            lack = export.lack()
            if lack is not None:
                return lack, export.is_expected
        if self._unknown:
            return self._unknown[0], True
        if self._jail.filter.ignoreSelf and self._own is None:
            return "this host's own addresses are not known", True
        return None

    def _take(self, entries):
        try:
            self.elements = to_elements(entries)
        except ValueError as error:
            # Each list was within the bound; all together, or without one that has ended, are not.
            self._tell("error", "%s; the list before stays in force", error)
            self._unknown.append("all lists together are too much")
            if self.elements is None:
                self.elements = to_elements([entry for entry in entries if entry.ports is None])

    def _places(self, option):
        """The files to read, each with the log that it is beside, if any."""
        if option != "auto":
            return {} if option is None else {option: None}
        # A filter that reads the journal has no files.
        logs = getattr(self._jail.filter, "getLogPaths", list)()
        return {re.sub(r"\.log\Z", "", path) + ".allow.json": path for path in logs
                if not os.path.basename(path).startswith(SPOOL_PREFIX)}

    def _read_own(self):
        own = read_own_addresses()
        self._own = self._own if own is None else own
        return self._own

    def _to_entries(self, names):
        """A host name is fail2ban's to resolve, before a ban."""
        entries, self._unknown = [], []
        for name in names:
            try:
                entries.append(to_allowed(str(to_network(name))))
            except ValueError:
                self._unknown.append("ignoreip has %s, which is no address" % shown(name))
        return entries


class BanLog:
    """The file with a line for each ban: lines of honeyport's shape, kept while the file cannot be written."""

    def __init__(self, path, sensor, log_error):
        self._path = path
        self._log_error = log_error
        self._head = "%s honeyport[%d]: " % (sensor, os.getpid())
        self._instance = "".join(random.SystemRandom().choice(string.ascii_lowercase + string.digits) for _ in range(8))
        self._number = 0
        self._waiting = collections.deque()
        self._lost = 0
        self._failing = False

    def add(self, event, pairs):
        """Puts a line in order; `pairs` are its keys before and after `id`, which stands at the mark None."""
        if self._path is None:
            return
        if len(self._waiting) >= MOST_WAITING_LINES:
            self._lost += 1
            return
        self._number += 1
        keys = ["id=%s.%d" % (self._instance, self._number) if pair is None else "%s=%s" % (pair[0], quote(pair[1]))
                for pair in pairs]
        text = "%s %s%s %s\n" % (timestamp(time.time()), self._head, event, " ".join(keys))
        self._waiting.append(text.encode("ascii"))
        if len(self._waiting) >= MOST_GATHERED_LINES and not self._failing:
            self.write()

    def write(self):
        """Writes what waits; what cannot be written stays, and the failure is said once."""
        if self._lost > 0 and len(self._waiting) < MOST_WAITING_LINES:
            lost, self._lost = self._lost, 0
            self.add("suppressed", [("count", lost), ("reason", "queue"), None])
        try:
            while self._waiting:
                self._write_batch([self._waiting[i] for i in range(min(1000, len(self._waiting)))])
            self._failing = False
        except OSError as error:
            if not self._failing:
                self._log_error("cannot write %s: %s; bans work, their lines wait for it", self._path, error.strerror)
            self._failing = True

    def close(self):
        """Says what never got into the file."""
        if self._waiting or self._lost:
            self._log_error("%d lines never got into %s", len(self._waiting) + self._lost, self._path)

    def _write_batch(self, lines):
        # Opened each time, so that a rotation needs to tell nobody.
        descriptor = self._open()
        try:
            data = (b"\n" if self._is_torn(descriptor) else b"") + b"".join(lines)
            written = os.write(descriptor, data) - (len(data) - sum(map(len, lines)))
        finally:
            os.close(descriptor)
        for line in lines:
            written -= len(line)
            if written < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._waiting.popleft()

    def _open(self):
        # The directory may belong to the listener's user, who must not lead root to another file, nor to a pipe.
        flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(self._path, flags | os.O_CREAT | os.O_EXCL, 0o640)
            # fail2ban's umask would take the group's right to read.
            os.fchmod(descriptor, 0o640)
        except FileExistsError:
            descriptor = self._open_existing(flags)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            os.close(descriptor)
            raise OSError(errno.EINVAL, "is not a regular file of this one name")
        return descriptor

    def _open_existing(self, flags):
        try:
            return os.open(self._path, flags)
        except OSError as error:
            raise OSError(error.errno, "is a symbolic link") if error.errno == errno.ELOOP else error

    @staticmethod
    def _is_torn(descriptor):
        """Whether the file ends within a line, since a disk was full."""
        size = os.fstat(descriptor).st_size
        return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


Obstacle = collections.namedtuple("Obstacle", "state level reason")
"""Why there is no quarantine. state: what is answered; level: of what is said in fail2ban's log, None for nothing"""

SAMPLE = "%s honeyport[1]: connect src=192.0.2.1 spt=1 dst=192.0.2.2 dpt=1 proto=tcp decoy=%s id=a.1"


class Quarantine:
    """Lets the kernel quarantine as long as it harms nobody.

    Here everything that fails is said, and tried again a minute later: bans do not wait for it. The kernel is given
    leave for a minute at a time, so that what cannot be taken back ends by itself.
    """

    def __init__(self, jail, tell):
        self._jail = jail
        self._tell = tell
        self._cookies = CookieWatch()
        self._settings = self._rules = self._nft = None
        # As they were made; None: they have to be made anew.
        self._chains = None
        self._armed_until = self._next_at = self._next_disarming_at = 0
        self._obstacle = self._failure = None
        self._full_said_at = None
        # Networks that got into the kernel of late, and when, the first ones first.
        self._blocked_at = collections.OrderedDict()
        self._regexes = self._takes_all = None

    @property
    def state(self):
        """on as long as the kernel has leave, suspended while it takes SYN cookies, or off."""
        if time.monotonic() < self._armed_until:
            return "on"
        return "off" if self._obstacle is None else self._obstacle.state

    def use(self, settings, ruleset, nft):
        """Takes new options over, before the bans' rules are made with them."""
        self._settings, self._rules, self._nft = settings, ruleset.quarantine, nft

    def doubt(self):
        """The rules may not be as they were left: they are made anew before the kernel has leave again."""
        self._chains = None
        if self._failure is None:
            self._next_at = 0

    def end(self):
        """The bans' rules were made anew, which takes the quarantine's away."""
        self.doubt()
        self._armed_until = 0

    def check(self, chains):
        """Sees whether the rules are as they were left."""
        if self._chains is not None and self._own(chains) != self._chains:
            self.doubt()

    def keep(self, lack):
        """Brings the kernel to what is right now. lack: as of `AllowList.lack`"""
        self._forget_old()
        obstacle = self._find_obstacle(lack)
        self._say(obstacle)
        now = time.monotonic()
        if obstacle is None:
            if now >= self._next_at:
                self._arm()
        elif now < self._armed_until and now >= self._next_disarming_at:
            self._disarm()

    def note_blocked(self, networks):
        """Networks whose ban has come into the kernel just now."""
        now = time.monotonic()
        for network in networks:
            self._blocked_at.pop(network, None)
            self._blocked_at[network] = now

    def _forget_old(self):
        """A ban that was there for so long began after whatever its quarantine knew of the address."""
        end = time.monotonic() - 2 * self._rules.exempt_seconds
        while self._blocked_at and next(iter(self._blocked_at.values())) < end:
            self._blocked_at.popitem(last=False)

    def was_blocked_of_late(self, network):
        return network in self._blocked_at

    def exempt(self, networks):
        """Takes out of the quarantine whom a ban is about to let go, and keeps them out of it."""
        if self._chains is None:
            return
        try:
            for start in range(0, len(networks), EXEMPT_PER_SCRIPT):
                self._apply(self._rules.exempt(networks[start:start + EXEMPT_PER_SCRIPT]))
        except NftError:
            # Made anew it holds nobody.
            self.doubt()

    def _find_obstacle(self, lack):
        has_cookies = self._settings.quarantine_seconds > 0 and self._cookies.look()
        if self._settings.quarantine_seconds == 0:
            return Obstacle("off", None, "")
        if not self._takes_each_connect():
            # It is no jail of the listener's.
            return Obstacle("off", "info", "the jail's filter does not take every connect line of honeyport")
        if lack is not None:
            reason, is_news = lack
            return Obstacle("off", "notice" if is_news else "info", reason)
        jail_filter = self._jail.filter
        if jail_filter.ignoreCommand:
            return Obstacle("off", "notice", "what ignorecommand says is known only before a ban")
        if jail_filter.getIgnoreRegex():
            return Obstacle("off", "notice", "what ignoreregex matches is known only before a ban")
        if jail_filter.getMaxRetry() > 1:
            return Obstacle("off", "notice", "maxretry is more than 1")
        if has_cookies:
            return Obstacle("suspended", "warning", "SYN cookies are in use or were of late, and can be guessed")
        return None

    def _takes_each_connect(self):
        regexes = self._jail.filter.getFailRegex()
        if regexes != self._regexes:
            self._regexes = regexes
            sample = SAMPLE % ("sensor", "a.0_b-" + "".join(random.choice(string.ascii_lowercase) for _ in range(16)))
            self._takes_all = any(re.search(regex, sample) for regex in regexes)
        return self._takes_all

    def _say(self, obstacle):
        before, self._obstacle = self._obstacle, obstacle
        if obstacle is None:
            if before is not None and before.level in ("notice", "warning"):
                self._tell("notice", "the quarantine is in force again")
        elif obstacle != before and obstacle.level is not None:
            what = "the quarantine is suspended" if obstacle.state == "suspended" else "no quarantine"
            self._tell(obstacle.level, "%s: %s; bans are in force", what, obstacle.reason)

    def _arm(self):
        try:
            if self._chains is None:
                self._apply(self._rules.build())
                self._chains = self._own(self._nft.read_chains(QUARANTINE_NFT_TIMEOUT_SECONDS))
            # From before the transaction, so that it is over no sooner in the kernel.
            begun = time.monotonic()
            printed = self._apply(self._rules.arm(anew=begun >= self._armed_until))
        except NftError as error:
            self._fail(error)
            return
        self._armed_until, self._next_at = begun + ARMED_SECONDS, begun + REARM_SECONDS
        self._say_full(printed)
        if self._failure is not None:
            self._failure = None
            self._tell("notice", "the quarantine works now")

    def _disarm(self):
        try:
            self._apply(self._rules.disarm())
        except NftError:
            # The kernel's leave ends by itself.
            self._next_disarming_at = time.monotonic() + QUARANTINE_NFT_TIMEOUT_SECONDS
        else:
            self._armed_until = self._next_at = 0

    def _fail(self, error):
        if self._failure is None:
            self._tell("error", "no quarantine: %s; it is tried again each minute, and bans work without it. It needs "
                       "nft 0.9.8 and a kernel with nft_socket and nft_fib; quarantine=0 switches it off", error)
        self._failure = error
        self._chains = None
        if time.monotonic() < self._armed_until:
            self._disarm()
        self._next_at = time.monotonic() + QUARANTINE_RETRY_SECONDS

    def _apply(self, script):
        return self._nft.apply(script, QUARANTINE_NFT_TIMEOUT_SECONDS)

    def _own(self, chains):
        return [chains.get(chain) for chain in self._rules.chains]

    def _say_full(self, printed):
        """From what `arm` has printed."""
        found = re.search(r"packets (\d+)", printed)
        now = time.monotonic()
        if found is None or int(found.group(1)) == 0 or \
                self._full_said_at is not None and now - self._full_said_at < LEAST_SECONDS_BETWEEN_FULL:
            return
        self._full_said_at = now
        self._tell("error", "the quarantine is full, with %d addresses or %d handshakes of one family; others wait for "
                   "their ban", MOST_QUARANTINED, MOST_HANDSHAKES)


def timestamp(seconds):
    whole = int(seconds)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return "%s.%03d+00:00" % (text, int((seconds - whole) * 1000))


def quote(value):
    """A value as in honeyport's lines: bare, or quoted with nothing but printable ASCII."""
    text = str(value)
    if re.match(r"[A-Za-z0-9._:,/+@-]+\Z", text):
        return text
    escaped = "".join(
        "\\" + chr(byte) if byte in b'"\\' else chr(byte) if 32 <= byte < 127 else "\\x%02x" % byte
        for byte in text.encode("utf-8", "surrogateescape"))
    return '"%s"' % escaped


class Action(ActionBase):
    """What fail2ban calls. Its threads call ban and unban; only the worker touches the kernel and the file."""

    # fail2ban tells when a ban becomes longer, through prolong.
    _prolongable = True
    # fail2ban compares it once a stock action of the same jail had to be repaired.
    banEpoch = 0

    def __init__(self, jail, name, **options):
        """Wrong options are raised by `start`: raised here, they would stop the whole server with all other jails."""
        super().__init__(jail, name)
        self._problem = None
        try:
            self._settings = Settings(**options)
        except (ValueError, TypeError) as error:
            self._problem = error
            self._settings = Settings()
        self._next_settings = None
        self._ruleset = Ruleset(self._settings, jail.name)
        self._nft = Nft(self._settings.nft)
        self._ban_log = self._open_ban_log()
        self._condition = threading.Condition()
        self._worker = None
        self._sleep_seconds = jail.actions.sleeptime
        self._stopping = False
        self._check_wanted = self._ends_wanted = False
        # What is wanted: bans by address, the addresses by network, and what changed since the last transaction.
        self._bans = {}
        self._members = {}
        self._changed = {}
        self._length_is_new = False
        self._refused = 0
        # What is: bans in the kernel, with a line in the file, and the mode that they are in.
        self._said = {}
        self._said_mode = self._settings.mode
        self._allowed = AllowList(jail, self._tell)
        self._elements = to_elements(())
        self._outdated = []
        self._chain_text = None
        self._build_wanted = True
        self._settling_until = None
        self._last_change_at = 0
        self._networks_per_transaction = MOST_NETWORKS_PER_TRANSACTION
        self._failures = 0
        self._retry_at = 0
        self._next_check_at = 0
        self._next_look_at = 0
        self._quarantine = Quarantine(jail, self._tell)
        self._quarantine.use(self._settings, self._ruleset, self._nft)

    # --- what fail2ban calls ---

    def start(self):
        """Raises ValueError for wrong options: fail2ban says so in its log, and nothing is blocked until a reload."""
        if self._problem is not None:
            raise ValueError("%s; nothing is blocked until a reload with right options" % self._problem)
        self._jail.actions.sleeptime = min(self._sleep_seconds, LONGEST_SLEEP_SECONDS)
        name = "honeyport_nftables/%s" % self._jail.name
        with self._condition:
            self._worker = threading.Thread(target=self._run, name=name, daemon=True)
            self._changed.update(dict.fromkeys(self._bans))
        self._worker.start()

    def stop(self):
        """Takes the chain and the sets back before it returns."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._nft.timeout_seconds = LAST_NFT_TIMEOUT_SECONDS
        self._jail.actions.sleeptime = self._sleep_seconds
        if self._worker is not None:
            self._worker.join(NFT_TIMEOUT_SECONDS + LAST_NFT_TIMEOUT_SECONDS)
            if self._worker.is_alive():
                self._logSys.error("[%s] %s does not end; rules may stay: nft list chain %s", self._jail.name,
                                   self._settings.nft, self._ruleset.chain)

    def ban(self, aInfo):
        """Also for an address that is banned already: the new end holds."""
        address = to_network(aInfo["ip"])
        ban = to_ban(aInfo)
        with self._condition:
            network = self._ruleset.network(address)
            if network not in self._members and len(self._members) >= MOST_NETWORKS:
                self._refused += 1
                return
            self._bans[address] = ban
            self._members.setdefault(network, set()).add(address)
            self._length_is_new = self._length_is_new or not self._ruleset.has_set_for(network)
            self._note(address, None)

    def prolong(self, aInfo):
        """The new end of a ban; of none that was lifted in the meantime."""
        with self._condition:
            if to_network(aInfo["ip"]) in self._bans:
                self.ban(aInfo)

    def unban(self, aInfo):
        address = to_network(aInfo["ip"])
        ban = to_ban(aInfo)
        with self._condition:
            if self._bans.pop(address, None) is not None:
                self._leave_network(address)
                self._note(address, "expired" if ban.end <= time.time() + 1 else "manual")

    def flush(self):
        """Unbans all at once; returns True, so that fail2ban does not do it one by one."""
        reason = "flush" if self._jail.actions.active else "stop"
        with self._condition:
            addresses = list(self._bans)
            self._bans.clear()
            self._members.clear()
            for address in addresses:
                self._note(address, reason)
        return True

    def clearAllParams(self):
        """Has to exist for `reload` to be called, and the action to be kept, when fail2ban reloads."""

    def reload(self, **options):
        """Takes new options over without letting anybody go; wrong ones are reported and the old ones stay."""
        try:
            settings = Settings(**options)
        except (ValueError, TypeError) as error:
            stay = "the options before stay in force" if self._problem is None else "still nothing is blocked"
            self._logSys.error("[%s] %s; %s", self._jail.name, error, stay)
            return
        self._problem = None
        with self._condition:
            self._next_settings = None if settings == self._settings else settings
            self._check_wanted = True
            self._condition.notify()
        if self._worker is None:
            self.start()

    def consistencyCheck(self, beforeRepair=None):
        """fail2ban found a banned address again, and has banned it for longer without a word.

        The worker looks at all ends of bans, and whether the rules are still there.
        """
        with self._condition:
            self._check_wanted = self._ends_wanted = True
            self._condition.notify()

    @property
    def blocked(self):
        """How many addresses are in the kernel, for `fail2ban-client get <jail> action <action> blocked`."""
        return len(self._said)

    @property
    def waiting(self):
        """How many bans and unbans are not in the kernel yet."""
        return len(self._changed)

    @property
    def mode(self):
        return self._settings.mode

    @property
    def quarantine(self):
        """on, suspended while the kernel takes SYN cookies, or off."""
        return self._quarantine.state

    # --- notes of what is wanted, under the lock ---

    def _note(self, address, reason):
        if self._worker is None:
            # Wrong options; `start` takes all bans there are by then.
            return
        self._changed[address] = reason
        self._last_change_at = time.monotonic()
        self._condition.notify()

    def _leave_network(self, address):
        network = self._ruleset.network(address)
        members = self._members.get(network, set())
        members.discard(address)
        if not members:
            self._members.pop(network, None)

    def _end_of(self, network):
        return max((self._bans[address].end for address in self._members.get(network, ())), default=None)

    # --- the worker ---

    def _run(self):
        self._begin()
        while self._wait():
            try:
                self._turn()
            except NftError as error:
                self._delay_retry(error)
            except Exception as error:  # a thread that ends would let everybody in
                self._delay_retry("%s: %s" % (type(error).__name__, error))
        self._finish()

    def _begin(self):
        # What a killed server left goes on blocking until fail2ban has restored its bans.
        if self._ruleset.chain in self._nft.look_at_chains():
            self._settling_until = time.monotonic() + LONGEST_SETTLING_SECONDS
            self._last_change_at = time.monotonic()

    def _wait(self):
        """Until there is something to do, or a tick has passed; False at the end."""
        with self._condition:
            now = time.monotonic()
            busy = now >= self._retry_at and (self._changed or self._build_wanted or self._check_wanted)
            if not busy and not self._stopping:
                self._condition.wait(TICK_SECONDS)
            return not self._stopping

    def _turn(self):
        self._ban_log.write()
        self._say_refused()
        if time.monotonic() < self._retry_at:
            return
        self._take_settings()
        self._look_around()
        if self._build_wanted or self._length_is_new:
            self._rebuild()
        elif self._changed:
            self._gather()
            try:
                self._commit()
            except NftError:
                # Whatever it is that does not fit, the whole of it is made anew; if that fails, too, it is said.
                self._rebuild()
                self._say_rebuilt()
        self._ban_log.write()
        # In the middle of a reload fail2ban has neither ignoreip nor the rest.
        if not self._jail.idle:
            self._quarantine.keep(self._allowed.lack())

    def _gather(self):
        """Waits for the rest of a burst."""
        end = time.monotonic() + LONGEST_GATHERING_SECONDS
        while not self._stopping and self._last_change_at + GATHERING_PAUSE_SECONDS > time.monotonic() < end:
            time.sleep(GATHERING_PAUSE_SECONDS)

    def _take_settings(self):
        with self._condition:
            settings, self._next_settings = self._next_settings, None
            if settings is None:
                return
            before, self._settings = self._settings, settings
            if before.mode != settings.mode:
                self._changed.update(dict.fromkeys(self._bans))
            self._outdated.append(self._ruleset)
            self._ruleset = Ruleset(settings, self._jail.name)
            self._members = {}
            for address in self._bans:
                self._members.setdefault(self._ruleset.network(address), set()).add(address)
        self._build_wanted = True
        self._nft = Nft(settings.nft)
        self._quarantine.use(settings, self._ruleset, self._nft)
        if (before.log, before.sensor) != (settings.log, settings.sensor):
            self._ban_log.close()
            self._ban_log = self._open_ban_log()

    def _look_around(self):
        """Sees what changed without a call: who is allowed, and rules that somebody else removed."""
        now = time.monotonic()
        with self._condition:
            wanted, self._check_wanted = self._check_wanted, False
            ends_wanted, self._ends_wanted = self._ends_wanted, False
        if ends_wanted:
            self._take_ends()
        if self._settling_until is not None and now > min(self._settling_until,
                                                          self._last_change_at + SETTLED_SECONDS):
            self._settling_until = None
            self._build_wanted = True
        if not self._build_wanted and (now >= self._next_look_at or wanted):
            self._bring_allowed()
        if self._build_wanted or (now < self._next_check_at and not wanted):
            return
        now = time.monotonic()
        if not self._nft.is_unchanged():
            chains = self._nft.look_at_chains()
            self._quarantine.check(chains)
            if chains.get(self._ruleset.chain) != self._chain_text:
                self._rebuild()
                self._say_rebuilt()
        # Where others change rules all the time, looking must not take all the time.
        self._next_check_at = now + max(TICK_SECONDS, 20 * (time.monotonic() - now))

    def _bring_allowed(self):
        """Changes in the kernel what changed of the allow list."""
        now = time.monotonic()
        self._look_at_allowed()
        elements = self._allowed.elements
        if elements is not self._elements:
            try:
                self._nft.apply(self._ruleset.allow(self._elements, elements))
            except NftError as error:
                self._rebuild()
                if not error.is_too_long:
                    self._say_rebuilt()
            else:
                self._elements = elements
        # A list that changes all the time must not take all the time.
        self._next_look_at = now + max(TICK_SECONDS, 4 * (time.monotonic() - now))

    def _look_at_allowed(self):
        if self._allowed.elements is None or not self._jail.idle:
            self._allowed.look(self._settings.allow, self._make_way)

    def _make_way(self):
        """Between two parts of long work: brings bans to the kernel, and gives fail2ban's threads their turn."""
        time.sleep(PART_PAUSE_SECONDS)
        if self._changed and not (self._build_wanted or self._length_is_new or self._stopping):
            self._commit()

    def _take_ends(self):
        """Notes the bans that fail2ban has made longer."""
        default = self._jail.actions.getBanTime()
        for ticket in self._jail.actions.banManager:
            address = to_network(ticket.getID())
            end = to_end(ticket.getTime(), ticket.getBanTime(default))
            with self._condition:
                ban = self._bans.get(address)
                if ban is not None and ban.end < end:
                    self._bans[address] = ban._replace(end=end)
                    self._note(address, None)

    def _rebuild(self):
        """Makes the chain and the sets anew, with all bans, and takes back those of former options."""
        self._build_wanted = True
        self._chain_text = None
        self._look_at_allowed()
        elements = self._allowed.elements
        outdated = list(self._outdated)
        removal = "".join(ruleset.remove() for ruleset in outdated)
        self._quarantine.doubt()
        self._commit(lambda: [removal] + self._ruleset.build(elements, keep_bans=self._settling_until is not None))
        self._quarantine.end()
        self._elements = elements
        del self._outdated[:len(outdated)]
        for table in {ruleset.table for ruleset in outdated} - {self._ruleset.table}:
            self._delete_table_if_empty(table)
        self._chain_text = self._nft.look_at_chains().get(self._ruleset.chain)
        if self._chain_text is None:
            raise NftError("chain %s was removed as soon as it was made" % self._ruleset.chain)
        self._build_wanted = False

    def _commit(self, build=None):
        """Brings what changed to the kernel, then says it; on failure nothing is forgotten.

        build: gives scripts that make the sets anew and go first; all bans follow them then
        """
        with self._condition:
            changed, self._changed = self._changed, {}
            networks = {self._ruleset.network(address) for address in changed}
            if build is not None:
                networks.update(self._members)
                self._length_is_new = False
            for network in networks if build is not None else ():
                self._ruleset.add_set_for(network)
            ends = {network: self._end_of(network) for network in networks}
            bans = {address: self._bans.get(address) for address in changed}
        try:
            self._exempt(bans, ends)
            self._apply([] if build is None else build(), ends)
        except BaseException:
            with self._condition:
                self._changed = {**changed, **self._changed}
            raise
        if self._said_mode != self._settings.mode:
            # What they were until now has ended, and each is said anew.
            self._say(dict.fromkeys(self._said, "mode"), {})
            self._said_mode = self._settings.mode
        now = time.time()
        self._quarantine.note_blocked(self._ruleset.network(address) for address, ban in bans.items()
                                      if ban is not None and is_running(ban.end, now))
        self._say(changed, bans)
        self._recover()

    def _exempt(self, bans, ends):
        """Whoever was quarantined and then banned must not be in the quarantine still when he is let go."""
        now = time.time()
        networks = set()
        for address, ban in bans.items():
            if ban is None or not is_running(ban.end, now):
                network = self._ruleset.network(address)
                # Of a ban that never got into the kernel it is not known how old it is.
                is_new = address not in self._said or self._quarantine.was_blocked_of_late(network)
                networks.update([network] if is_new and not is_running(ends[network], now) else [])
        self._quarantine.exempt(list(networks))

    def _apply(self, first, ends):
        now = time.time()
        networks = list(ends)
        while first or networks:
            part = networks[:self._networks_per_transaction]
            script = self._ruleset.change({network: ends[network] for network in part}, now)
            try:
                self._nft.apply("".join(first) + script)
            except NftError as error:
                if not error.is_too_long:
                    raise
                if len(first) > SCRIPTS_OF_EMPTY_BUILD:
                    for single in filter(None, first):
                        self._nft.apply(single)
                    first = []
                elif len(part) < LEAST_NETWORKS_PER_TRANSACTION:
                    raise
                else:
                    self._networks_per_transaction = len(part) // 2
            else:
                first, networks = [], networks[len(part):]

    def _finish(self):
        """At the end: everything that is ours goes, and those who were blocked are said to be free."""
        try:
            self._nft.apply(self._ruleset.remove())
        except NftError as error:
            self._logSys.error("[%s] %s; the rules stay: nft flush chain %s", self._jail.name, error,
                               self._ruleset.chain)
        else:
            self._delete_table_if_empty(self._ruleset.table)
            self._say({address: self._changed.get(address) or "stop" for address in self._said}, {})
        self._ban_log.write()
        self._ban_log.close()

    def _delete_table_if_empty(self, table):
        # Another jail that ends at the same time may have been quicker.
        with contextlib.suppress(NftError):
            self._nft.delete_table_if_empty(table)

    # --- what is said ---

    def _tell(self, level, message, *values):
        getattr(self._logSys, level)("[%s] " + message, self._jail.name, *values)

    def _open_ban_log(self):
        return BanLog(self._settings.log, self._settings.sensor, functools.partial(self._tell, "error"))

    def _say(self, reasons, bans):
        """Writes a line for each address that is not what was said before."""
        now = time.time()
        would = "would-" if self._said_mode == "observe" else ""
        for address, reason in reasons.items():
            before, after = self._said.get(address), bans.get(address)
            if after is not None and is_running(after.end, now):
                self._said[address] = after
                if before is None or before.end != after.end:
                    self._ban_log.add(would + ("ban" if before is None else "prolong"), self._keys_of(address, after))
            elif before is not None:
                del self._said[address]
                self._ban_log.add(would + "unban", [("src", to_text(address)), ("reason", reason or "expired"),
                                                    ("jail", self._jail.name), None])

    def _keys_of(self, address, ban):
        until = "never" if ban.end == FOREVER else timestamp(ban.end)
        keys = [("src", to_text(address)), ("until", until), ("count", ban.count), ("jail", self._jail.name), None]
        network = self._ruleset.network(address)
        keys += [("cause", ban.cause)] if ban.cause else []
        keys += [("net", network)] if network != address else []
        keys += [("restored", "yes")] if ban.restored else []
        return keys

    def _delay_retry(self, error):
        self._build_wanted = True
        with self._condition:
            # All sets are made anew, so that an address that never got in need not be let go.
            self._changed = {address: reason for address, reason in self._changed.items()
                             if address in self._bans or address in self._said}
        self._failures += 1
        pause = min(LONGEST_RETRY_SECONDS, 2 ** min(self._failures - 1, 10))
        self._retry_at = time.monotonic() + pause
        self._logSys.error("[%s] %s; next try in %d s, %d bans are kept until then", self._jail.name, error,
                           pause, len(self._bans))

    def _recover(self):
        if self._failures > 0:
            self._logSys.notice("[%s] nft works again, %d addresses are in place", self._jail.name, len(self._said))
        self._failures = 0
        self._retry_at = 0

    def _say_rebuilt(self):
        self._logSys.warning("[%s] the rules of chain %s were not as they had been left; they are there again, with %d "
                             "addresses", self._jail.name, self._ruleset.chain, len(self._said))

    def _say_refused(self):
        if self._refused > 0:
            self._logSys.error("[%s] %d addresses are not blocked, since %d are already", self._jail.name,
                               self._refused, MOST_NETWORKS)
            self._refused = 0


def to_network(address):
    """What fail2ban bans, an address or a network, as an ipaddress network; an IPv4-mapped one as IPv4.

    Raises ValueError for anything else, such as a host name. The zone of an IPv6 address is cut off.
    """
    bare, percent, zone = str(address).partition("%")
    network = ipaddress.ip_network(bare, strict=False)
    mapped = network.network_address.ipv4_mapped if network.version == 6 else None
    return ipaddress.ip_network(mapped) if mapped is not None and network.prefixlen == 128 else network


def to_text(address):
    return str(address.network_address if address.prefixlen == address.max_prefixlen else address)


def to_end(start, seconds):
    """When a ban ends, in seconds since the epoch; one that nobody lives to see never does."""
    return start + seconds if 0 <= seconds < LONGEST_TIMEOUT_SECONDS else FOREVER


def to_ban(info):
    """A ticket's end, from what fail2ban tells an action: a restored one has its first time and whole ban time."""
    cause = str((info["F-*"] or {}).get("eventid", ""))
    restored = bool(info["restored"])
    # fail2ban counts a restored ban once more.
    count = max(1, info["bancount"] - (1 if restored else 0))
    is_id = re.match(r"[a-z0-9]{1,32}\.\d{1,20}\Z", cause)
    return Ban(to_end(info["time"], info["bantime"]), count, cause if is_id else None, restored)
