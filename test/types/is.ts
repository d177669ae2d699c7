/** `is<A, B>(true)` compiles only if A and B are the same type, to the letter. */
export const is = <A, B>(_: Same<A, B>): void => {}

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
