import type { Leftovers } from './plan.ts';

/** What Python and our actions write down by themselves, once fail2ban has run them. */
export const FAIL2BAN_TRACES: Leftovers = {
  files: [
    { directory: '/etc/fail2ban/action.d/__pycache__', names: 'honeyport[_-].*\\.pyc' },
    { directory: '/var/lib/fail2ban', names: 'honeyport-rotation-.*' },
  ],
  directories: ['/etc/fail2ban/action.d/__pycache__'],
  users: [],
};
