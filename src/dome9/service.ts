import type { Dome9Configuration } from '../configuration/dome9.ts';
import { UserError } from '../errors.ts';
import { reportUserError, type Voice } from '../voice.ts';
import { openAccount } from './account.ts';
import { type Keeper, startKeeper, type Timing } from './keeper.ts';
import { targetName } from './status.ts';

/** Keeps an account in step with what fail2ban's action has recorded. */
export interface Dome9Service {
  /** In force; another one after a reload. */
  readonly configuration: Dome9Configuration;
  /**
   * Reads the configuration again, all or nothing, and tries as soon as the pause after the last attempt ends.
   * @param onlyIfChanged nothing happens where it says the same as before
   */
  reload(options?: { readonly onlyIfChanged?: boolean }): void;
  /** Breaks off what is under way. */
  stop(): Promise<void>;
}

export interface Dome9ServiceOptions {
  /** @throws UserError */
  readonly load: () => Dome9Configuration;
  readonly voice: Voice;
  readonly version: string;
  readonly timing?: Partial<Timing>;
}

/**
 * Starts it; changes are seen once it resolves, and the first attempt is under way.
 *
 * @throws UserError when the configuration cannot be used
 */
export async function startDome9Service(options: Dome9ServiceOptions): Promise<Dome9Service> {
  const { load, voice, version, timing = {} } = options;
  const first = load();
  let keeper = await startKeeper({ configuration: first, account: open(first), voice, timing });
  let reloading = Promise.resolve();
  let waiting: { onlyIfChanged: boolean } | undefined;
  return {
    get configuration() {
      return keeper.configuration;
    },
    reload({ onlyIfChanged = false } = {}) {
      // of a storm of signals one is left
      if (waiting !== undefined) waiting.onlyIfChanged &&= onlyIfChanged;
      else reloading = reloading.then(replace);
      waiting ??= { onlyIfChanged };
    },
    async stop() {
      await reloading;
      await keeper.stop();
    },
  };

  function open(configuration: Dome9Configuration) {
    const said = new Set<string>();
    return openAccount(configuration, version, (message) => {
      if (!said.has(message)) voice.warning(message);
      said.add(message);
    });
  }

  async function replace(): Promise<void> {
    const { onlyIfChanged } = waiting!;
    waiting = undefined;
    let next: Pick<Keeper, 'configuration' | 'account'>;
    try {
      const configuration = load();
      if (onlyIfChanged && JSON.stringify(configuration) === JSON.stringify(keeper.configuration)) return;
      next = { configuration, account: open(configuration) };
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      reportUserError(voice, error);
      voice.say('the configuration read before runs on');
      return;
    }
    await keeper.stop();
    keeper = await startKeeper({ ...next, voice, timing, pauseMs: keeper.pauseLeftMs });
    voice.say(`the configuration was read again: ${targetName(next.configuration)}`);
  }
}
