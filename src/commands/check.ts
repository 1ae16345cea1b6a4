import type { Command } from 'commander';
import { expiredEntries, expiryWarnings } from '../allow/expiry.ts';
import { portCount } from '../configuration/decoy-ports.ts';
import { responseWarnings } from '../daemon/response-warnings.ts';
import { UserError } from '../errors.ts';
import { openTlsContext } from '../sinks/tls-files.ts';
import { findOtherLogs } from '../system/log-readers.ts';
import {
  CONFIGURATION_OPTION,
  CONFIGURATION_OPTION_HELP,
  configurationSource,
} from './configuration-option.ts';
import type { CommandContext } from './context.ts';

export function addCheckCommand(program: Command, { voice, print }: CommandContext): void {
  program
    .command('check')
    .description(
      'Check the configuration, and that fail2ban and logrotate name the same log. Changes nothing.',
    )
    .option(CONFIGURATION_OPTION, CONFIGURATION_OPTION_HELP)
    .action(({ config }: { config?: string }) => {
      const configuration = configurationSource(config).load();
      const { file, decoys, allow, log } = configuration;
      const name = file ?? 'the built-in default';
      const others = file === undefined ? [] : findOtherLogs(log.file.path);
      for (const { reader, logs } of others) {
        voice.warning(`${reader} names ${logs.join(', ')}, but the log is ${log.file.path}`);
      }
      for (const warning of expiryWarnings(expiredEntries(allow, Date.now()))) voice.warning(warning);
      for (const warning of responseWarnings(decoys)) voice.warning(warning);
      for (const { target, tls } of log.syslog) if (target.wire === 'tls') openTlsContext(tls);
      print(
        `${name}: decoys: ${decoys.length}, ports: ${portCount(configuration)}, allow entries: ${allow.length}, log: ${log.file.path}\n`,
      );
      if (others.length > 0)
        throw new UserError('some readers of the log would read another file', { exitCode: 1 });
    });
}
