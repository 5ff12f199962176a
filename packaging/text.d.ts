/**
 * Files that the program carries as text.
 *
 * @module
 */

declare module "*.sh" {
  const text: string;
  export default text;
}

declare module "*.service" {
  const text: string;
  export default text;
}
