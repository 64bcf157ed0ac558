const PICO_DIGITS = 12;

/** Pico-dollars of a decimal dollar text. */
export function pico(usd: string): bigint {
  const [whole = '0', fraction = ''] = usd.replace('-', '').split('.');
  const digits = BigInt(whole + fraction.padEnd(PICO_DIGITS, '0').slice(0, PICO_DIGITS));
  return usd.startsWith('-') ? -digits : digits;
}

/** Pico-dollars per token of a price in decimal dollars per million tokens. */
export function picoPerToken(usdPerMillion: string): bigint {
  return pico(usdPerMillion) / 1_000_000n;
}

/** The size of a difference. */
export function distance(one: bigint, other: bigint): bigint {
  return one > other ? one - other : other - one;
}
