/** Is everything installed that the lock file asks for? */
import { expect, test } from 'vitest';
import { packagesMatch } from '../../../src/setup/npm.mjs';

const a = { version: '1.0.0', integrity: 'sha512-a' };
const b = { version: '2.0.0', integrity: 'sha512-b' };
const wanted = {
  packages: { '': { version: '0.1.0' }, 'node_modules/a': a, 'node_modules/b': { ...b, optional: true } },
};

test.each([
  ['all of it', { 'node_modules/a': a, 'node_modules/b': b }, true],
  ['all but a package for another platform', { 'node_modules/a': a }, true],
  ['more than that', { 'node_modules/a': a, 'node_modules/c': b }, true],
  ['nothing', {}, false],
  ['another version', { 'node_modules/a': { ...a, version: '1.0.1' } }, false],
  ['the same version with other content', { 'node_modules/a': { ...a, integrity: 'sha512-x' } }, false],
  ['an old version of an optional one', { 'node_modules/a': a, 'node_modules/b': a }, false],
])('%s installed', (_, packages, match) => {
  expect(packagesMatch(wanted, { packages })).toBe(match);
});

test('a file without packages is not an installation', () => {
  expect(packagesMatch(wanted, {})).toBe(false);
});
