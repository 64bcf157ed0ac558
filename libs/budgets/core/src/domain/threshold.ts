import type { PicoUsd } from '#libs/kernel';

/**
 * Whether spend has reached a share of the limit, exact: the share is read by its shortest decimal
 * text, so 0.8 means 8/10. Nothing spent reaches nothing.
 * @param share > 0 and <= 1
 */
export function hasReached(share: number, limitPicoUsd: PicoUsd, settledPicoUsd: PicoUsd): boolean {
  if (settledPicoUsd <= 0n) return false;
  const { numerator, denominator } = decimalFraction(share);
  return settledPicoUsd * denominator >= limitPicoUsd * numerator;
}

/** The fraction that the shortest decimal text of a number stands for. */
function decimalFraction(share: number): { numerator: bigint; denominator: bigint } {
  const match = /^(\d+)(?:\.(\d+))?(?:e-(\d+))?$/.exec(String(share));
  if (match === null) throw new RangeError(`not a share: ${share}`);
  const [, whole, fraction = '', exponent = '0'] = match;
  return {
    numerator: BigInt(`${whole}${fraction}`),
    denominator: 10n ** BigInt(fraction.length + Number(exponent)),
  };
}
