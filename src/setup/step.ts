import { DEFAULT_CONFIGURATION_FILE } from '../configuration/load.ts';
import { UNUSED_TABLE } from '../nftables/unused-table.ts';
import type { Change, Check, Effect, Step } from './plan.ts';

/** A change as a step that is told while it is done. */
export function changeStep(change: Change): Step {
  return { text: changeText(change), change };
}

function changeText(change: Change): string {
  switch (change.kind) {
    case 'put':
      return change.was === undefined ? `write ${change.path}` : `replace ${change.path}`;
    case 'remove':
      return `remove ${change.path}`;
    case 'directory':
      return `make ${change.path}/`;
    case 'log':
      return `make ${change.path}`;
    case 'user':
      return `make the user ${change.name}`;
  }
}

/** What programs are told, or asked, as a step. */
export function effectStep(effect: Effect): Step {
  return { text: effectText(effect), effect };
}

const CHECK_TEXTS: Readonly<Record<Check, string>> = {
  fail2ban: 'fail2ban-client -t',
  'no use of ours in fail2ban': 'fail2ban-client -d, to see that no jail needs what is removed',
  nftables: 'nft -c',
  rsyslog: 'rsyslogd -N1',
  configuration: `honeyport check -c ${DEFAULT_CONFIGURATION_FILE}`,
};

function effectText(effect: Effect): string {
  switch (effect.kind) {
    case 'check':
      return CHECK_TEXTS[effect.check];
    case 'read units':
      return 'systemctl daemon-reload';
    case 'start':
      return `systemctl enable --now ${effect.unit}`;
    case 'restart':
      return `systemctl restart ${effect.unit}`;
    case 'stop':
      return `systemctl disable --now ${effect.unit}`;
    case 'take jails':
      return 'fail2ban-client reload, of what is ours';
    case 'end jails':
      return 'fail2ban-client stop, of what is ours: takes its blocks back';
    case 'remove rules':
      return `nft, to delete the table ${UNUSED_TABLE}`;
    case 'restart rsyslog':
      return 'systemctl try-restart rsyslog.service';
  }
}
