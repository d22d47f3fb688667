package graph

import (
	"fmt"
	"strings"

	"github.com/pkg/errors"
)

// Error is a mistake in the use of an op: which op, which argument, what was wanted and what was got. Ops panic with
// it; Build, Compile and the other functions that return an error return it. Formatted with %+v it shows the stack,
// and so the line of the model code that made the mistake.
type Error struct {
	Op       string   // the op, as in "matmul"
	Operands []string // the operands' names and types, when they are known
	Arg      string   // the argument that is wrong
	Want     string   // what the op takes
	Got      string   // what it was given

	stack error
}

// fail makes an Error with the caller's stack.
func fail(op, arg string, want, got any) *Error {
	return &Error{Op: op, Arg: arg, Want: fmt.Sprint(want), Got: fmt.Sprint(got), stack: errors.New("")}
}

// Fail makes the typed error of an op, for authors of layers, objectives and ops outside this package: panic with it
// in model code, return it elsewhere.
func Fail(op, arg string, want, got any) *Error { return fail(op, arg, want, got) }

// Error is one line: op, argument, wanted, got, operands.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s: want %s, got %s", e.Op, e.Arg, e.Want, e.Got)
	if len(e.Operands) > 0 {
		fmt.Fprintf(&b, " (operands: %s)", strings.Join(e.Operands, "; "))
	}
	return b.String()
}

// Format prints the message, and with %+v also the stack of the call that failed.
func (e *Error) Format(s fmt.State, verb rune) {
	fmt.Fprint(s, e.Error())
	if verb == 'v' && s.Flag('+') {
		fmt.Fprintf(s, "%+v", e.stack)
	}
}

// StackTrace is the stack of the call that failed, as github.com/pkg/errors has it.
func (e *Error) StackTrace() errors.StackTrace {
	if st, ok := e.stack.(interface{ StackTrace() errors.StackTrace }); ok {
		return st.StackTrace()
	}
	return nil
}

// rescue turns an op's panic into a returned error; any other panic goes on.
func rescue(err *error) {
	switch r := recover().(type) {
	case nil:
	case *Error:
		*err = r
	default:
		panic(r)
	}
}
