/** From unknown to typed, or a refusal with its reason. The only importer of ajv: everything from outside passes here. */
import { Ajv, type ErrorObject, type JSONSchemaType } from 'ajv';
import { KithError } from './errors.ts';

// allErrors stays off: a hostile document must not make us collect a million errors (ajv, "security considerations").
const ajv = new Ajv({ allErrors: false, strict: true, allowUnionTypes: true, discriminator: true });

export type Schema = JSONSchemaType<unknown> | Record<string, unknown>;

export type Parse<T> = (value: unknown) => T;

/**
 * Compiles a JSON Schema once. The returned function gives its argument back, typed, or throws a KithError with the
 * given code: `<what> is not valid: /guests/0/mac must match pattern …`.
 */
export function parser<T>(what: string, code: string, schema: Schema): Parse<T> {
  const check = ajv.compile(schema);
  return (value) => {
    if (check(value)) return value as T;
    throw new KithError({ code, message: `${what} is not valid: ${firstError(check.errors)}`, retry: 'never' });
  };
}

function firstError(errors: readonly ErrorObject[] | null | undefined): string {
  const error = errors?.[0];
  if (!error) return 'unknown reason';
  const extra = 'additionalProperty' in error.params ? ` (${String(error.params['additionalProperty'])})` : '';
  return `${error.instancePath || 'it'} ${error.message ?? error.keyword}${extra}`.slice(0, 300);
}

/** JSON.parse with a size cap that is checked before parsing. */
export function parseJson(what: string, code: string, text: string, maxBytes: number): unknown {
  // Each UTF-16 unit is at least one byte: the cheap comparison first.
  const bytes = text.length > maxBytes ? text.length : Buffer.byteLength(text);
  if (bytes > maxBytes) {
    throw new KithError({
      code,
      message: `${what} is ${bytes} bytes, more than the ${maxBytes} allowed`,
      retry: 'never',
    });
  }
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new KithError({ code, message: `${what} is not JSON`, retry: 'never', cause });
  }
}
