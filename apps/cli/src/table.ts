/** A JSON object of an answer. */
export type Row = Readonly<Record<string, unknown>>;

/** A column of a table for people. */
export interface Column {
  readonly title: string;
  readonly value: (row: Row) => string;
  /** Whether values stand flush right, as amounts do. @default false */
  readonly isNumeric?: boolean;
}

/** A column that shows one member; null and absent are shown as `-`. */
export function column(member: string, title = member.replaceAll('_', ' ')): Column {
  return { title, value: (row) => show(row[member]) };
}

/** A column of counts or amounts. */
export function numeric(member: string, title = member.replaceAll('_', ' ')): Column {
  return { ...column(member, title), isNumeric: true };
}

/** Any JSON value as one short text. */
export function show(value: unknown): string {
  if (value === null || value === undefined) return '-';
  if (Array.isArray(value)) return value.map(show).join(', ');
  return typeof value === 'object' ? JSON.stringify(value) : String(value as string | number);
}

/** The members of an answer that are objects; anything else is left out. */
export function rowsOf(value: unknown): readonly Row[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : [];
  return list.filter((one): one is Row => typeof one === 'object' && one !== null);
}

/** An answer that is one object; anything else reads as an empty one. */
export function rowOf(value: unknown): Row {
  return typeof value === 'object' && value !== null ? (value as Row) : {};
}

/**
 * Aligned columns under a head line, two spaces apart, each line ended by a line feed.
 * @param empty the sentence shown instead when there are no rows
 */
export function renderTable(
  rows: readonly Row[],
  columns: readonly Column[],
  empty: string,
): string {
  if (rows.length === 0) return `${empty}\n`;
  const lines = [
    columns.map(({ title }) => title.toUpperCase()),
    ...rows.map((row) => columns.map(({ value }) => value(row))),
  ];
  const widths = columns.map((_, index) => Math.max(...lines.map((line) => width(line[index]))));
  const texts = lines.map((cells) =>
    cells
      .map((cell, index) => {
        const gap = ' '.repeat((widths[index] ?? 0) - width(cell));
        return columns[index]?.isNumeric === true ? gap + cell : cell + gap;
      })
      .join('  ')
      .trimEnd(),
  );
  return `${texts.join('\n')}\n`;
}

function width(cell: string | undefined): number {
  return cell?.length ?? 0;
}

/** One object as lines `name  value`, in the order of its members. */
export function renderCard(row: Row): string {
  const entries = Object.entries(row);
  const longest = Math.max(0, ...entries.map(([name]) => name.length));
  const lines = entries.map(([name, value]) =>
    `${name.replaceAll('_', ' ').padEnd(longest)}  ${show(value)}`.trimEnd(),
  );
  return `${lines.join('\n')}\n`;
}
