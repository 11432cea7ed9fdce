/** `kith unban <peer>`: the opposite of `kith ban`. */
export { unban as run } from './ban.ts';
