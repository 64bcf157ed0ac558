/**
 * Reads one statement's rows from a chdb directory that nobody else has open, as JSON lines on
 * standard output. A process of its own, because a directory belongs to one process at a time; it
 * uses the engine's own binding and nothing of the product.
 */
import { Session } from 'chdb';

const [path = '', sql = ''] = process.argv.slice(2);
const session = new Session(path);
process.stdout.write(
  session.query(
    `${sql} SETTINGS output_format_json_quote_decimals = 1, output_format_json_quote_64bit_integers = 1`,
    'JSONEachRow',
  ),
);
