import { setFlagsFromString } from 'node:v8';

// On a machine with much memory V8 lets garbage pile up to several times what is in use, and each page of results
// leaves about 10 MB of it. We are a guest on that machine and have time: collect early instead. Measured by
// `npm run bench`. Has to be the first import: the flags are for what comes after.
setFlagsFromString('--optimize-for-size');
setFlagsFromString('--semi-space-growth-factor=1');
