/** The text of Prosody's configuration file, from facts to Lua, without touching anything. */

export interface ProsodyConfig {
  readonly directory: string;
  /** Folder of our own Lua modules. */
  readonly plugins: string;
  readonly listen: string;
  readonly port: number;
  readonly domain: string;
  readonly mucService: string;
  readonly admin: string;
  readonly runAsRoot: boolean;
  /** `stock`: the limit that Debian's prosody.cfg.lua sets. */
  readonly bytesPerSecond: number | 'stock';
  readonly storage: 'internal' | 'memory';
  /** How long a cut session can be resumed, and how long its ghost stays in rooms. */
  readonly hibernationSeconds: number;
  readonly modules: readonly string[];
  readonly settings: Readonly<Record<string, string>>;
}

/** Debian's default, `limits = { c2s = { rate = "10kb/s" } }`. */
export const STOCK_BYTES_PER_SECOND = 10_000;

/** Prosody's own default, written down because peers rely on it. */
const SERVER_STANZA_BYTES = 262_144;

const MODULES = ['disco', 'roster', 'saslauth', 'smacks', 'ping', 'time', 'register_ibr', 'limits', 'kith_tokens'];

export function prosodyConfig(config: ProsodyConfig): string {
  const { directory, bytesPerSecond } = config;
  // Prosody reads "500b/s" as 5000 (its table of units says b = 10^1), so only kilobytes are ever written.
  const kilobytes = Math.ceil((bytesPerSecond === 'stock' ? STOCK_BYTES_PER_SECOND : bytesPerSecond) / 1000);
  return [
    ...(config.runAsRoot ? ['run_as_root = true'] : []),
    `data_path = ${lua(`${directory}/data`)}`,
    `plugin_paths = { ${lua(config.plugins)} }`,
    'log = { { levels = { min = "info" }, to = "console" } }',
    // Only direct TLS (XEP-0368): no plaintext port, no server-to-server, no web server.
    'c2s_ports = {}',
    `c2s_direct_tls_ports = { ${config.port} }`,
    `c2s_direct_tls_interfaces = { ${lua(config.listen)} }`,
    's2s_ports = {}',
    'http_ports = {}',
    'https_ports = {}',
    'modules_disabled = { "s2s" }',
    'c2s_require_encryption = true',
    `certificates = ${lua(directory)}`,
    `ssl = { key = ${lua(`${directory}/server.key`)}; certificate = ${lua(`${directory}/server.crt`)} }`,
    // Prosody's Nagle default costs 40 ms per round trip (measured). A frozen client is pinged after read_timeout.
    'network_settings = { nagle = false; read_timeout = 60 }',
    'authentication = "internal_hashed"',
    'password_hash = "SHA-256"',
    'disable_sasl_mechanisms = { "PLAIN" }',
    `storage = ${lua(config.storage)}`,
    `admins = { ${lua(config.admin)} }`,
    `modules_enabled = { ${[...MODULES, ...config.modules].map(lua).join('; ')} }`,
    ...Object.entries(config.settings).map(([name, value]) => `${name} = ${lua(value)}`),
    `limits = { c2s = { rate = "${kilobytes}kb/s" } }`,
    `c2s_stanza_size_limit = ${SERVER_STANZA_BYTES}`,
    `smacks_hibernation_time = ${config.hibernationSeconds}`,
    'allow_registration = true',
    ...['tokens', 'revoked', 'registered'].map((name) => `kith_${name}_file = ${lua(`${directory}/${name}`)}`),
    `VirtualHost ${lua(config.domain)}`,
    `Component ${lua(config.mucService)} "muc"`,
    '  restrict_room_creation = "local"',
    '  muc_room_default_public = false',
    '',
  ].join('\n');
}

/** A Lua string literal: printable ASCII as it is, every other byte as `\ddd`. */
export function lua(text: string): string {
  const body = [...Buffer.from(text, 'utf8')].map((byte) =>
    byte >= 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c
      ? String.fromCharCode(byte)
      : `\\${String(byte).padStart(3, '0')}`,
  );
  return `"${body.join('')}"`;
}
