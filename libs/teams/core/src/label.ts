const LABEL_PATTERN = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** Whether a text is a label: 1 to 63 lower-case letters, digits and inner hyphens. */
export function isLabel(text: string): boolean {
  return LABEL_PATTERN.test(text);
}
