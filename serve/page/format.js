// Numbers as text.

export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}%`;

export const count = (n) => n.toLocaleString("en");

export const megabytes = (bytes) => `${(bytes / 1e6).toFixed(2)} MB`;

export const milliseconds = (n) => `${n.toFixed(n < 10 ? 1 : 0)} ms`;
