/** Guests, host and images that are none, for whole peers under attack. Apart from those peers, so that mocks can import it. */
import type { Port } from '../../src/net/port.ts';

/** Mocks of the guest room write down here what ran. */
export const ran: { readonly guest: string; readonly command: readonly string[] }[] = [];

/** In the place of src/guest/guest.ts. */
export const fakeGuests = {
  bootGuest: async ({ name, onConsole }: { readonly name: string; readonly onConsole: (console: unknown) => void }) => {
    const exited = Promise.withResolvers<string>();
    const port: Port = { name, send: () => true, closed: exited.promise };
    const nothing = async () => {};
    const terminal = { log: (offset: number) => ({ data: new Uint8Array(0), offset, total: 0 }), type: () => true };
    onConsole(terminal);
    return {
      name,
      pid: 1,
      port,
      bootSeconds: 1,
      accelerator: 'tcg',
      exec: async (command: readonly string[]) => {
        ran.push({ guest: name, command });
        return { exitCode: 0, stdout: new Uint8Array(0), stderr: new Uint8Array(0), truncated: false };
      },
      ...terminal,
      residentMiB: async () => 100,
      pause: nothing,
      resume: nothing,
      limitCpu: nothing,
      exited: exited.promise,
      [Symbol.asyncDispose]: async () => exited.resolve('ended'),
    };
  },
};

/** In the place of `probeHost`: a host that holds its guests well. */
export const soundHost = async () => ({
  qemu: '/bin/false',
  version: '7.2',
  arch: 'x86_64',
  accelerator: 'tcg',
  confinement: ['namespaces', 'seccomp'],
  streamNetdev: true,
});

/** In the place of `createImageExchange`: each image is there already. */
export const fakeImages = () => ({
  ensure: async () => ({ kernel: '/nowhere', manifest: { name: 'micro' } }),
  give: async () => ({}),
  [Symbol.asyncDispose]: async () => {},
});
