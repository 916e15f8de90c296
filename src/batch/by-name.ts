/** Compares names as people sort them: numbers by their value. */
export const byName = new Intl.Collator("en", { numeric: true }).compare;
