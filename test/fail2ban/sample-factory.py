#!/usr/bin/python3
"""Runs honeyport's filter over sample lines with fail2ban's own sample tests.

Usage: sample-factory.py CONFIG SAMPLES

CONFIG is a copy of /etc/fail2ban with honeyport's files in it; SAMPLES holds logs/honeyport in the form of fail2ban's
fail2ban/tests/files. Run it with Debian's /usr/bin/python3, which has fail2ban's modules.
"""

import os
import sys
import unittest

CONFIG, SAMPLES = sys.argv[1:3]

# fail2ban's tests look for the stock configuration when they are imported.
os.environ['FAIL2BAN_CONFIG_DIR'] = CONFIG

from fail2ban.tests import samplestestcase, utils  # noqa: E402


class HoneyportSamples(samplestestcase.FilterSamplesRegex):
    """fail2ban's own checks, over honeyport's filter alone."""


def main():
    samplestestcase.TEST_FILES_DIR = SAMPLES
    HoneyportSamples.testSampleRegexsHONEYPORT = samplestestcase.testSampleRegexsFactory('honeyport', CONFIG)
    utils.initTests(None)
    # The class brings a test for each stock filter along, whose samples are not ours to repeat.
    suite = unittest.TestSuite([HoneyportSamples('testSampleRegexsHONEYPORT')])
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    sys.exit(0 if result.wasSuccessful() and result.testsRun == 1 else 1)


if __name__ == '__main__':
    main()
