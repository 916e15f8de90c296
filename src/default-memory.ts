/** Bytes that work keeps within where nobody says otherwise. */
export const DEFAULT_MEMORY = 2 * 1024 ** 3;
