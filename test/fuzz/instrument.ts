import ts from "typescript";

// Gives code the counters that a coverage-guided fuzzer steers by: one at the start of every function, branch, loop body,
// case, and right side of &&, || and ??; and reports what is compared with what.

const equality = new Map<ts.SyntaxKind, string>([
  [ts.SyntaxKind.EqualsEqualsEqualsToken, "same"],
  [ts.SyntaxKind.ExclamationEqualsEqualsToken, "different"],
]);
const order = new Map<ts.SyntaxKind, string>([
  [ts.SyntaxKind.LessThanToken, "less"],
  [ts.SyntaxKind.LessThanEqualsToken, "lessOrSame"],
  [ts.SyntaxKind.GreaterThanToken, "more"],
  [ts.SyntaxKind.GreaterThanEqualsToken, "moreOrSame"],
]);
const lazy = new Set([
  ts.SyntaxKind.AmpersandAmpersandToken,
  ts.SyntaxKind.BarBarToken,
  ts.SyntaxKind.QuestionQuestionToken,
]);

/** The instrumented text of a JavaScript module. It expects `__fuzz` (runtime.ts) as a global. */
export function instrument(source: string, name: string): string {
  const { factory: f } = ts;
  let count = 0;
  let sites = 0;
  const bump = () => f.createPostfixIncrement(f.createElementAccessExpression(f.createIdentifier("__hits"), count++));
  const statement = () => f.createExpressionStatement(bump());
  const counted = (expression: ts.Expression) =>
    f.createParenthesizedExpression(f.createComma(bump(), f.createParenthesizedExpression(expression)));
  const inBlock = (body: ts.Statement) =>
    ts.isBlock(body)
      ? f.updateBlock(body, [statement(), ...body.statements])
      : f.createBlock([statement(), body], true);
  const call = (how: string, ...args: ts.Expression[]) =>
    f.createCallExpression(f.createPropertyAccessExpression(f.createIdentifier("__compare"), how), undefined, [
      f.createNumericLiteral(sites++),
      ...args,
    ]);
  const withStart = (block: ts.Block) => {
    // Directives such as "use strict" stay first.
    const directives = block.statements.findIndex(
      (s) => !(ts.isExpressionStatement(s) && ts.isStringLiteral(s.expression)),
    );
    const at = directives < 0 ? block.statements.length : directives;
    return f.updateBlock(block, [...block.statements.slice(0, at), statement(), ...block.statements.slice(at)]);
  };

  const transformer: ts.TransformerFactory<ts.SourceFile> = (context) => {
    const visitAll = <T extends ts.Node>(node: T): T => ts.visitEachChild(node, visit, context);
    const visit = (node: ts.Node): ts.Node => {
      if (ts.isForStatement(node)) {
        // The condition of a counting loop says nothing that its body's counter does not.
        const { initializer, condition, incrementor } = node;
        const body = inBlock(ts.visitNode(node.statement, visit) as ts.Statement);
        return f.updateForStatement(
          node,
          initializer && (ts.visitNode(initializer, visit) as ts.ForInitializer),
          condition && (ts.visitEachChild(condition, visit, context) as ts.Expression),
          incrementor && (ts.visitNode(incrementor, visit) as ts.Expression),
          body,
        );
      }
      const seen = visitAll(node);
      if (ts.isIfStatement(seen))
        return f.updateIfStatement(
          seen,
          seen.expression,
          inBlock(seen.thenStatement),
          seen.elseStatement ? inBlock(seen.elseStatement) : f.createBlock([statement()]),
        );
      if (ts.isWhileStatement(seen)) return f.updateWhileStatement(seen, seen.expression, inBlock(seen.statement));
      if (ts.isDoStatement(seen)) return f.updateDoStatement(seen, inBlock(seen.statement), seen.expression);
      if (ts.isForOfStatement(seen))
        return f.updateForOfStatement(
          seen,
          seen.awaitModifier,
          seen.initializer,
          seen.expression,
          inBlock(seen.statement),
        );
      if (ts.isCaseClause(seen)) return f.updateCaseClause(seen, seen.expression, [statement(), ...seen.statements]);
      if (ts.isDefaultClause(seen)) return f.updateDefaultClause(seen, [statement(), ...seen.statements]);
      if (ts.isCatchClause(seen)) return f.updateCatchClause(seen, seen.variableDeclaration, withStart(seen.block));
      if (ts.isConditionalExpression(seen))
        return f.updateConditionalExpression(
          seen,
          seen.condition,
          seen.questionToken,
          counted(seen.whenTrue),
          seen.colonToken,
          counted(seen.whenFalse),
        );
      if (ts.isArrowFunction(seen) && !ts.isBlock(seen.body))
        return f.updateArrowFunction(
          seen,
          seen.modifiers,
          seen.typeParameters,
          seen.parameters,
          seen.type,
          seen.equalsGreaterThanToken,
          counted(seen.body),
        );
      if (ts.isBlock(seen) && node.parent && ts.isFunctionLike(node.parent)) return withStart(seen);
      if (ts.isBinaryExpression(seen)) {
        const { left, operatorToken, right } = seen;
        if (lazy.has(operatorToken.kind)) return f.updateBinaryExpression(seen, left, operatorToken, counted(right));
        const how = equality.get(operatorToken.kind);
        if (how) return call(how, left, right);
        const limit = order.get(operatorToken.kind);
        if (limit && (ts.isNumericLiteral(left) || ts.isNumericLiteral(right) || ts.isIdentifier(right)))
          return call(limit, left, right);
      }
      return seen;
    };
    return (file) => ts.visitNode(file, visit) as ts.SourceFile;
  };

  const file = ts.createSourceFile(name, source, ts.ScriptTarget.ES2022, true, ts.ScriptKind.JS);
  const { transformed } = ts.transform(file, [transformer]);
  const body = ts.createPrinter().printFile(transformed[0]);
  const head = `const { hits: __hits, compare: __compare } = globalThis.__fuzz.module(${count}, ${sites});\n`;
  return head + body;
}
