// A child process of tests/process.test.mjs: reports and ends, also if its parent keeps a channel open.
require('../index.cjs').begin('default', 'child').end();
process.disconnect();
