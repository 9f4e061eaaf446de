# SPDX-License-Identifier: MIT
"""The deterministic phase: PETSc's TAO on the scaled functional, resumable with its quasi-Newton memory.

| method | TAO type | bounds | a resumed run follows the uninterrupted one |
|---|---|---|---|
| lmvm | `lmvm`, limited-memory BFGS, Moré–Thuente | no | yes |
| blmvm | `blmvm`, the same with projected gradients | yes | yes |
| bqnls | `bqnls`, L-BFGS on the free variables | yes | yes |
| cg | `bncg`, nonlinear conjugate gradients | no | it begins again with steepest descent |
| nls | `nls`, Newton–Krylov with a line search | no | it begins again with the first step's regularization |
| ntr | `ntr`, Newton–Krylov in a trust region | no | it begins again with the first radius |
| bnls, bntr | `bnls`, `bntr`, the same on the free variables | yes | as `nls`, `ntr` |

Newton's equations are solved by a Krylov method with the Hessian's action, preconditioned by the Riesz map, to the
relative tolerance min(1/2, √(|g|/|g₀|)): enough for superlinear convergence (Dembo, Eisenstat, Steihaug, SIAM J. Numer.
Anal. 19 (1982) 400).  `hessian` chooses the exact second derivative, or its Gauss–Newton part: that one is cheaper and
positive semidefinite, and converges linearly at a rate that grows with the residuals of the fit.

TAO gives no access to the memory of `lmvm` and `blmvm`.  A resumed run rebuilds it by replaying the last iterates:
with `recycle` set, TAO keeps its matrix between solves.  One solve of a single iteration from each stored iterate, in
which the callback returns the stored objective and gradient, gives the matrix the same updates as the first time; no
sweep is run.  This is exact if the initial scaling of L-BFGS depends on the stored pairs only.  Therefore the option
`mat_lmvm_scale_type scalar` is set: TAO's default, a diagonal, depends on the whole history.  This has a price: on the
digits (`demos/digits_optimal.toml`) a scalar takes 765 iterations with the default memory of 10 pairs and 623 with 20,
a diagonal 381 and 352.  Whoever does not resume may ask for it by `optimizer.options`,
`tao_lmvm_mat_lmvm_scale_type = "diagonal"`; a run that is resumed then goes on with another matrix.

A trial point of a line search may have no states: they overflow, or an implicit stage has no solution.  The callback
then returns the value of a parabola that has the objective and slope of the last iterate and its minimum at a tenth of
the way, so that the next trial is nearer.  To `ntr`, which takes tiny differences of the objective for success, it
returns infinity.  An error is raised only at the start, and where no nearer trial has states.

References:
    PETSc/TAO Users Manual, TAO solvers `TAOLMVM`, `TAOBLMVM`, `TAOBQNLS`, `TAOBNCG`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from petsc4py import PETSc

from fem_selection.errors import InvalidInput, NonFinite, NotConverged
from fem_selection.learning.hessian import ScaledHessian
from fem_selection.learning.scaled import ScaledFunctional
from fem_selection.optimize.ends import NO_DESCENT, NO_RADIUS, end_by_fault, end_by_gradient, end_by_tao
from fem_selection.optimize.pace import Pace
from fem_selection.optimize.report import IterationRow, OptimizationReport, Save, Stop
from fem_selection.optimize.tao_options import set_options
from fem_selection.petsc import last_line, remove_shift
from fem_selection.settings import OptimizerSettings, OutputSettings
from fem_selection.settings.names import BOUNDED, NEWTON, TAO
from fem_selection.typing import Floats

__all__ = ["minimize"]

_SPARE_PAIRS = 5  # further stored pairs, since TAO may have rejected updates for lack of curvature
_RISES = 5  # iterates in a row above the best one, after which a run ends: TAO's `lmvm` may climb from a failed search
_NEARER = 0.1  # part of a step without states at which the next trial is to be


def minimize(
    functional: ScaledFunctional,
    scaled_start: Floats,
    settings: OptimizerSettings,
    *,
    scaled_bounds: tuple[Floats, Floats] | None = None,
    resume: tuple[Mapping[str, Any], Mapping[str, Floats]] | None = None,
    save: Save | None = None,
    observe: Callable[[IterationRow], None] | None = None,
    stop: Stop | None = None,
    checkpoint_every: int | None = OutputSettings.checkpoint_every,
) -> OptimizationReport:
    """Minimise Ĵ(x̂) by TAO (collective).

    Args:
        functional: Ĵ; its controls are overwritten.
        scaled_start: Shard of the first x̂; ignored when resuming.
        settings: Method, limits and tolerances; the method is one of TAO.
        scaled_bounds: Shards of lower and upper bounds in x̂; an infinite entry is no bound.
        resume: The state and vectors that `save` received earlier.
        save: Called with state and vectors at iteration 0, then when one is due and at the end.
        observe: Called with each new line of the history.
        stop: Called after each iteration; the run ends if it returns True.
        checkpoint_every: Iterations between calls of `save`; None for as often as 2 % of the time allows.

    Raises:
        InvalidInput: if the method is none of TAO, if there are bounds and the method knows none, or if PETSc or the
            method refuses an option.
        NonFinite: with the iteration, if there are no states at the start, or if a line search or a trust region ends
            without a step that has states; before that, `save` was called with the last good iterate.
        NotConverged: if TAO breaks off before it has tested the start; later, the report says so.

    Example:
        >>> problem = fs.build_problem(fs.load_case("demos/gap.toml"))
        >>> newton = fs.OptimizerSettings(method="ntr", gradient_tolerance=1e-9)
        >>> report = fs.minimize(problem.scaled_functional, problem.scaled_start, newton)
        >>> print(f"{report.objective:.4f}")
        1.2437
    """
    if settings.method not in TAO:
        raise InvalidInput(f"method {settings.method!r} is none of TAO: use one of {', '.join(TAO)}")
    if scaled_bounds is not None and settings.method not in BOUNDED:
        raise InvalidInput(f"method {settings.method!r} knows no bounds: use {', '.join(map(repr, BOUNDED))}")
    if resume is None:
        scaled_start = functional.control_space.to_shard(scaled_start)
    run = _Minimizer(functional, settings, scaled_bounds, save, observe, stop, checkpoint_every)
    return run.run(scaled_start, resume)


@dataclass
class _Iterate:
    objective: float
    scaled: Floats
    gradient: Floats


class _Minimizer:
    """One TAO solve; owns its PETSc objects between `run`'s first and last line."""

    def __init__(
        self,
        functional: ScaledFunctional,
        settings: OptimizerSettings,
        scaled_bounds: tuple[Floats, Floats] | None,
        save: Save | None,
        observe: Callable[[IterationRow], None] | None,
        stop: Stop | None,
        checkpoint_every: int | None,
    ) -> None:
        self.functional, self.settings, self.scaled_bounds = functional, settings, scaled_bounds
        self.pace = Pace(checkpoint_every, functional.control_space.ensemble.world)
        self.save, self.observe, self.stop = save, observe, stop
        self.iteration = self.evaluations = 0
        self.first_norm = 0.0
        self.best: _Iterate | None = None
        self.memory: deque[_Iterate] = deque(maxlen=settings.memory + 1 + _SPARE_PAIRS)
        self.replayed: _Iterate | None = None
        self.stopped = False
        self.resumed = self.tested = False
        self.last = (np.nan, np.nan)
        self.fault: NonFinite | None = None
        self.raised: NonFinite | None = None
        self.broken: str | None = None
        self.shortened = 0
        self._latest: _Iterate | None = None
        self._latest_at: tuple[int, int] | None = (
            None  # the vector that it was evaluated at, and PETSc's count of changes
        )
        is_gauss_newton = settings.hessian == "gauss_newton"
        self._hessian = ScaledHessian(functional, is_gauss_newton) if settings.method in NEWTON else None

    def run(
        self, scaled_start: Floats, resume: tuple[Mapping[str, Any], Mapping[str, Floats]] | None
    ) -> OptimizationReport:
        create = self.functional.control_space.create_vector
        if resume is not None:
            scaled_start = self._load(*resume)
        scaled, gradient = create(scaled_start), create()
        limits = [create(b) for b in self.scaled_bounds] if self.scaled_bounds is not None else []
        tao = PETSc.TAO().create(self.functional.control_space.ensemble.world)
        matrices = [] if self._hessian is None else [self._hessian.as_matrix()]
        try:
            if self._hessian is not None:
                self._use_hessian(tao, self._hessian, *matrices)
            tao.setObjectiveGradient(self._evaluate, gradient)
            tao.setSolution(scaled)
            if limits:
                tao.setVariableBounds(*limits)
            set_options(tao, self.settings)
            if self._hessian is not None:
                self._hessian.use_as_preconditioner(tao.getKSP().getPC())
            with self._faults_in_words():
                self._replay(tao, scaled)
                scaled.array[:] = scaled_start
                if self._latest is None:  # outside of PETSc, through which an error at the start would have to pass
                    self._latest = self._sweep(scaled)
                tao.setConvergenceTest(self._test)
                tao.solve()
            if self.fault is not None and tao.getConvergedReason() in (NO_DESCENT, NO_RADIUS):
                self._save_now()
                raise self.fault
            return self._report(tao)
        finally:
            for thing in (tao, scaled, gradient, *limits, *matrices):
                thing.destroy()

    def _use_hessian(self, tao: PETSc.TAO, hessian: ScaledHessian, matrix: PETSc.Mat) -> None:
        """Give TAO the Hessian; each linearization also sets the tolerance for Newton's equation."""

        def linearize(tao: PETSc.TAO, scaled: PETSc.Vec, h: PETSc.Mat, p: PETSc.Mat) -> None:
            hessian.linearize(scaled.array_r)
            remove_shift(h)
            ratio = self.last[1] / self.first_norm if self.first_norm > 0 else 1.0
            tao.getKSP().setTolerances(rtol=min(0.5, float(np.sqrt(ratio))))

        tao.setHessian(linearize, matrix, matrix)

    @contextmanager
    def _faults_in_words(self) -> Iterator[None]:
        """Raise the error of a callback instead of PETSc's error; keep a fault of TAO as words for the report."""
        try:
            yield
        except PETSc.Error as error:
            # the callback's error is the cause of PETSc's error, unless a garbage collection met it and dropped it
            fault, self.raised = error.__cause__ or self.raised, None
            if isinstance(fault, NonFinite):
                self._save_now()
            if fault is not None:
                raise fault from None
            self.broken = last_line(error)
            if self.best is None:
                raise NotConverged(end_by_fault(self.broken, self.settings.method, 0).reason) from error
            self._save_now()

    # ── callbacks ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _evaluate(self, tao: PETSc.TAO, scaled: PETSc.Vec, gradient: PETSc.Vec) -> float:
        if self.replayed is not None:
            return self._answer(scaled, gradient, self.replayed)
        if self._latest is not None and self._is_at(scaled, self._latest):
            gradient.array[:] = self._latest.gradient
            return self._latest.objective
        try:
            self._latest = self._sweep(scaled)
        except NonFinite as error:
            if self.best is None:
                raise
            self.fault, self.raised = _without_frames(error), None
            return self._refuse(scaled, gradient, self.memory[-1])
        self.fault = None
        gradient.array[:] = self._latest.gradient
        return self._latest.objective

    def _sweep(self, scaled: PETSc.Vec) -> _Iterate:
        """Evaluate objective and gradient, and count the evaluation."""
        self.evaluations += 1
        try:
            value, gradient = self.functional.evaluate(scaled.array_r)
        except NonFinite as error:
            self.raised = error.at_iteration(self.iteration + 1 if self.best is not None else 0)
            raise self.raised from error
        return _Iterate(objective=value, scaled=scaled.array_r.copy(), gradient=gradient.copy())

    def _refuse(self, scaled: PETSc.Vec, gradient: PETSc.Vec, base: _Iterate) -> float:
        """The value returned for a trial without states: Ĵ₀ + s (τ − τ² / 2θ) at τ = 1, s < 0 the slope at τ = 0."""
        self.shortened += 1
        if self.settings.method == "ntr":
            return np.inf
        slope = self.functional.control_space.ensemble.sum(float(base.gradient @ (scaled.array_r - base.scaled)))
        gradient.array[:] = (1.0 - 1.0 / _NEARER) * base.gradient
        # far above the round-off of Ĵ₀, within which the trial would pass as no worse
        return base.objective + max((0.5 / _NEARER - 1.0) * abs(slope), 1e-8 * abs(base.objective))

    def _test(self, tao: PETSc.TAO) -> None:
        """TAO's convergence test, called once for each iterate or refused radius.

        Adds a line to the history, writes the checkpoint that is due, and decides whether to go on.
        """
        its, objective, norm, _, step, _ = tao.getSolutionStatus()
        # `bncg` tests its start twice; `bntr` may go on from a better point that it met while it chose its radius
        is_start = its == 0 and (not self.memory or self._is_at(tao.getSolution(), self.memory[-1]))
        if not is_start:
            self.iteration += 1
        self.last = (objective, norm)
        known = is_start and (self.resumed or self.tested)
        self.tested = True
        if not known:
            self._accept(tao, objective)
            if self.iteration == 0:
                self.first_norm = norm
            if self.observe is not None:
                self.observe(
                    IterationRow(
                        iteration=self.iteration,
                        objective=objective,
                        gradient_norm=norm,
                        step=step,
                        evaluations=self.evaluations,
                    )
                )
        s = self.settings
        reason = tao.getConvergedReason()  # a failed line search, or none yet
        if end_by_gradient(norm, s, first_norm=self.first_norm) is not None:
            reason = PETSc.TAO.ConvergedReason.CONVERGED_GATOL
        elif self.iteration >= s.max_iterations:
            reason = PETSc.TAO.ConvergedReason.DIVERGED_MAXITS
        elif self._rises():
            reason = NO_DESCENT
        elif self.stop is not None and self.stop():
            self.stopped, reason = True, PETSc.TAO.ConvergedReason.CONVERGED_USER
        tao.setConvergedReason(reason)
        if not known and (reason != 0 or self.pace.is_due(self.iteration)):
            self._save_now()

    def _accept(self, tao: PETSc.TAO, objective: float) -> None:
        """Store an iterate, also as the best one if it is the best."""
        scaled, latest = tao.getSolution(), self._latest
        if latest is None or not self._is_at(scaled, latest):
            # the line search ended at another point than the one that it evaluated last
            latest = self._sweep(scaled)
        self.memory.append(latest)
        if self.best is None or objective <= self.best.objective:
            self.best = latest

    def _rises(self) -> bool:
        """Whether the last iterates all lie above the best one.

        After a failed line search, `lmvm` negates its direction and asks for a descent along the solution (PETSc 3.25),
        so that it climbs, step after step, where the objective jumps.
        """
        latest = list(self.memory)[-_RISES:]
        best = np.inf if self.best is None else self.best.objective
        return len(latest) == _RISES and all(iterate.objective > best for iterate in latest)

    def _is_at(self, scaled: PETSc.Vec, iterate: _Iterate) -> bool:
        """Whether a vector equals an iterate in every bit on every rank (collective)."""
        own, other = scaled.array_r, iterate.scaled
        few = slice(None, None, max(own.size // 64, 1))  # most other vectors differ here
        differs = not (np.array_equal(own[few], other[few]) and np.array_equal(own, other))
        return not self.functional.control_space.ensemble.any(differs)

    # ── memory ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _answer(self, scaled: PETSc.Vec, gradient: PETSc.Vec, stored: _Iterate) -> float:
        """The stored objective and gradient at the stored iterate; elsewhere a value that ends the line search."""
        if self._is_at(scaled, stored):
            gradient.array[:] = stored.gradient
            return stored.objective
        gradient.array[:] = 0.0
        return stored.objective - 1e6 * (1.0 + abs(stored.objective))

    def _replay(self, tao: PETSc.TAO, scaled: PETSc.Vec) -> None:
        """Update TAO's matrix with all stored iterates but the last, from which the solve continues."""
        method = self.settings.method
        if method in ("cg", *NEWTON) or len(self.memory) < 2:
            return
        stored = list(self.memory)[:-1]
        if method == "bqnls":
            self._replay_bqnls(tao, stored)
            return
        tao.setConvergenceTest(_one_iteration)
        for iterate in stored:
            self.replayed = iterate
            scaled.array[:] = iterate.scaled
            tao.solve()
        self.replayed = None

    def _replay_bqnls(self, tao: PETSc.TAO, stored: list[_Iterate]) -> None:
        """Update the matrix of `bqnls` at the first iteration: TAO gives access to it, but resets it at the start."""
        create = self.functional.control_space.create_vector

        def feed(tao: PETSc.TAO, iteration: int) -> None:
            if iteration == 0:
                for iterate in stored:
                    scaled, gradient = create(iterate.scaled), create(iterate.gradient)
                    tao.getLMVMMat().updateLMVM(scaled, gradient)
                    scaled.destroy()
                    gradient.destroy()

        tao.setUpdate(feed)

    def _save_now(self) -> None:
        if self.save is None or self.best is None:
            return
        state = {
            "iteration": self.iteration,
            "evaluations": self.evaluations,
            "first_norm": self.first_norm,
            "shortened": self.shortened,
            "best_objective": self.best.objective,
            "objectives": [m.objective for m in self.memory],
            "gradient_norm": self.last[1],
        }
        vectors = {"best": self.best.scaled, "best_gradient": self.best.gradient}
        for number, m in enumerate(self.memory):
            vectors[f"x{number}"], vectors[f"g{number}"] = m.scaled, m.gradient
        with self.pace.writing():
            self.save(state, vectors)

    def _load(self, state: Mapping[str, Any], vectors: Mapping[str, Floats]) -> Floats:
        self.resumed = True
        self.iteration, self.evaluations = int(state["iteration"]), int(state["evaluations"])
        self.first_norm, self.shortened = float(state["first_norm"]), int(state.get("shortened", 0))
        for number, objective in enumerate(state["objectives"]):
            self.memory.append(
                _Iterate(objective=objective, scaled=vectors[f"x{number}"], gradient=vectors[f"g{number}"])
            )
        self.best = _Iterate(
            objective=float(state["best_objective"]), scaled=vectors["best"], gradient=vectors["best_gradient"]
        )
        self._latest = self.memory[-1]
        return self._latest.scaled

    # ── report ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _report(self, tao: PETSc.TAO) -> OptimizationReport:
        assert self.best is not None
        reason = int(tao.getConvergedReason())
        norm, first = self.last[1], self.first_norm
        # a gradient that is zero at the start may be one that bounds project to zero
        unprojected = self.functional.norm(self.memory[-1].gradient) if first == 0 else 0.0
        end = end_by_gradient(norm, self.settings, first_norm=first, first_unprojected=unprojected)
        if self.broken is not None:
            end = end_by_fault(self.broken, self.settings.method, self.iteration + 1)
        elif end is None or reason != PETSc.TAO.ConvergedReason.CONVERGED_GATOL:
            end = end_by_tao(reason, norm / first if first > 0 else 0.0)
        sentence = end.reason
        if self.shortened:
            one = self.shortened == 1
            trials = "1 trial step was" if one else f"{self.shortened} trial steps were"
            sentence += f"; {trials} shortened, for no finite states exist at {'its end' if one else 'their ends'}"
        return OptimizationReport(
            scaled_solution=self.best.scaled,
            objective=self.best.objective,
            gradient_norm=norm,
            iterations=self.iteration,
            evaluations=self.evaluations,
            reason=sentence,
            converged=end.converged and not self.stopped,
            stopped=self.stopped,
        )


def _without_frames(error: NonFinite) -> NonFinite:
    """The error without its frames: that of `_evaluate` holds the solver, which PETSc would then never free."""
    cause: BaseException | None = error
    while cause is not None:
        cause.__traceback__, cause = None, cause.__cause__ or cause.__context__
    return error


def _one_iteration(tao: PETSc.TAO) -> None:
    its = tao.getSolutionStatus()[0]
    reasons = PETSc.TAO.ConvergedReason
    tao.setConvergedReason(reasons.CONTINUE_ITERATING if its == 0 else reasons.DIVERGED_MAXITS)
