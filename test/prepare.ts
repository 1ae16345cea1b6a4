/**
 * Makes what several test files share, before they run: side by side they would make it at the same time, and from
 * networks of their own they reach no mirror. What is there from an earlier run is taken as it is.
 */
import { crowdsecRoot } from './support/crowdsec.ts';
import { DEBIAN_RELEASES, debianRoot } from './support/debian-root.ts';
import { createNetwork } from './support/namespaces.ts';
import { NODE_VERSIONS, nodeBinary } from './support/node-versions.ts';
import { syslogNgRoot } from './support/syslog-ng.ts';

// ip-netns(8) mounts a directory for the first namespace ever; two that do so hide each other's.
createNetwork().dispose();
for (const version of Object.values(NODE_VERSIONS)) nodeBinary(version);
crowdsecRoot();
syslogNgRoot();
for (const release of DEBIAN_RELEASES) debianRoot(release);
