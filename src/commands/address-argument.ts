import { type Address, parseAddress } from '../address.ts';
import { briefText } from '../configuration/printable.ts';
import { UserError } from '../errors.ts';

/** @throws UserError */
export function readAddress(text: string): Address {
  const address = parseAddress(text);
  if (address === undefined)
    throw new UserError(`expected an IPv4 or IPv6 address, got "${briefText(text)}"`);
  return address;
}
