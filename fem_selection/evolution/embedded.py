# SPDX-License-Identifier: MIT
"""Embedded Runge–Kutta pairs as data: a step, estimates of its local error, and a polynomial through it.

    R_i = F(f + h Σ_j a_ij R_j),   f₊ = f + h Σ_i b_i R_i,   R_s = F(f₊),   error estimates h Σ_i e_i R_i

The last row of a is b, so that R_s is the first rate of the next step.  Between the ends, with θ ∈ [0, 1],

    f(t + θh) = f + θ(Δ + (1−θ)(hR_0 − Δ + θ(2Δ − h(R_0 + R_s) + (1−θ)(D_0 + θ(D_1 + (1−θ)(D_2 + θ D_3))))))

where Δ = f₊ − f and D_k = h Σ_i d_ki R_i, i over the stages and some additional ones: Hermite's cubic with corrections.

References:
    Dormand, Prince, J. Comput. Appl. Math. 6 (1980) 19, doi:10.1016/0771-050X(80)90013-3 (DOPRI5).
    Hairer, Nørsett, Wanner, Solving Ordinary Differential Equations I, doi:10.1007/978-3-540-78862-1, II.5, II.6
    (DOP853 and both polynomials).
    Kennedy, Carpenter, Appl. Numer. Math. 44 (2003) 139, doi:10.1016/S0168-9274(02)00138-1 (ARK4(3)6L[2]SA, its
    implicit part).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.polynomial import Polynomial

from fem_selection.typing import Floats

__all__ = ["DOP853", "DOPRI5", "ESDIRK4", "EmbeddedPair"]

Row = Mapping[int, float]


@dataclass(frozen=True)
class EmbeddedPair:
    """A Runge–Kutta scheme with estimates of its error.

    Attributes:
        name: Its name in reports.
        order: Order of the solution.
        error_order: Power of h that the error estimate of one step is proportional to.
        a: Coefficients by stage, row i those of stage i; the last is b.
        additional: Rows of the additional stages that the polynomial needs.
        errors: e, one row or two; from two norms E₅, E₃ the estimate is E₅² / (E₅² + E₃²/100)^{1/2}.
        dense: d, rows of the polynomial.
        stability: Length of the stability interval on the negative axis, in units of 1/h.
        diagonal: γ = a_ii of the stages 1 … s − 1; 0 in explicit pairs.
    """

    name: str
    order: int
    error_order: int
    a: tuple[Row, ...]
    additional: tuple[Row, ...]
    errors: tuple[Row, ...]
    dense: tuple[Row, ...]
    stability: float
    diagonal: float = 0.0

    @property
    def num_stages(self) -> int:
        """s, the number of stages of one step."""
        return len(self.a) - 1

    @property
    def num_rates(self) -> int:
        """Number of all rates: those of the stages, at the end, and of the additional stages."""
        return len(self.a) + len(self.additional)

    @property
    def rows(self) -> tuple[Row, ...]:
        """Coefficients of all rates, in their order."""
        return (*self.a, *self.additional)

    def node(self, stage: int) -> float:
        """Return c_i = Σ_j a_ij."""
        return sum(self.rows[stage].values())

    def weights(self, theta: float) -> Floats:
        """Return the weights β for which f(t + θh) = f + h Σ_i β_i R_i, shape (num_rates,)."""
        return np.array([p(theta) for p in self._polynomials])

    @cached_property
    def _polynomials(self) -> list[Polynomial]:
        """β_i as polynomials in θ, from the nested form."""
        theta, rest = Polynomial([0.0, 1.0]), Polynomial([1.0, -1.0])
        result = []
        for i in range(self.num_rates):
            delta = self.a[-1].get(i, 0.0)
            first, last = float(i == 0), float(i == self.num_stages)
            parts = [delta, first - delta, 2 * delta - first - last, *(d.get(i, 0.0) for d in self.dense)]
            nested = Polynomial([0.0])
            for k in reversed(range(len(parts))):
                nested = (theta if k % 2 == 0 else rest) * (parts[k] + nested)
            result.append(nested)
        return result


DOPRI5 = EmbeddedPair(
    name="Dormand–Prince 5(4)",
    order=5,
    error_order=5,
    a=(
        {},
        {0: 1 / 5},
        {0: 3 / 40, 1: 9 / 40},
        {0: 44 / 45, 1: -56 / 15, 2: 32 / 9},
        {0: 19372 / 6561, 1: -25360 / 2187, 2: 64448 / 6561, 3: -212 / 729},
        {0: 9017 / 3168, 1: -355 / 33, 2: 46732 / 5247, 3: 49 / 176, 4: -5103 / 18656},
        {0: 35 / 384, 2: 500 / 1113, 3: 125 / 192, 4: -2187 / 6784, 5: 11 / 84},
    ),
    additional=(),
    errors=({0: 71 / 57600, 2: -71 / 16695, 3: 71 / 1920, 4: -17253 / 339200, 5: 22 / 525, 6: -1 / 40},),
    dense=(
        {
            0: -12715105075 / 11282082432,
            2: 87487479700 / 32700410799,
            3: -10690763975 / 1880347072,
            4: 701980252875 / 199316789632,
            5: -1453857185 / 822651844,
            6: 69997945 / 29380423,
        },
    ),
    stability=3.3,
)

_B8 = {
    0: 0.0542937341165687622380535766363,
    5: 4.45031289275240888144113950566,
    6: 1.89151789931450038304281599044,
    7: -5.8012039600105847814672114227,
    8: 0.31116436695781989440891606237,
    9: -0.152160949662516078556178806805,
    10: 0.201365400804030348374776537501,
    11: 0.0447106157277725905176885569043,
}

DOP853 = EmbeddedPair(
    name="Dormand–Prince 8(5,3)",
    order=8,
    error_order=8,
    a=(
        {},
        {0: 0.05260015195876773},
        {0: 0.0197250569845379, 1: 0.0591751709536137},
        {0: 0.02958758547680685, 2: 0.08876275643042054},
        {0: 0.2413651341592667, 2: -0.8845494793282861, 3: 0.924834003261792},
        {0: 1 / 27, 3: 0.17082860872947386, 4: 0.12546768756682242},
        {0: 0.037109375, 3: 0.17025221101954405, 4: 0.06021653898045596, 5: -0.017578125},
        {0: 0.03709200011850479, 3: 0.17038392571223998, 4: 0.10726203044637328, 5: -0.015319437748624402,
         6: 0.008273789163814023},
        {0: 0.6241109587160757, 3: -3.3608926294469414, 4: -0.868219346841726, 5: 27.59209969944671,
         6: 20.154067550477894, 7: -43.48988418106996},
        {0: 0.47766253643826434, 3: -2.4881146199716677, 4: -0.590290826836843, 5: 21.230051448181193,
         6: 15.279233632882423, 7: -33.28821096898486, 8: -0.020331201708508627},
        {0: -0.9371424300859873, 3: 5.186372428844064, 4: 1.0914373489967295, 5: -8.149787010746927,
         6: -18.52006565999696, 7: 22.739487099350505, 8: 2.4936055526796523, 9: -3.0467644718982196},
        {0: 2.273310147516538, 3: -10.53449546673725, 4: -2.0008720582248625, 5: -17.9589318631188,
         6: 27.94888452941996, 7: -2.8589982771350235, 8: -8.87285693353063, 9: 12.360567175794303,
         10: 0.6433927460157636},
        _B8,
    ),
    additional=(
        {0: 0.056167502283047954, 6: 0.25350021021662483, 7: -0.2462390374708025, 8: -0.12419142326381637,
         9: 0.15329179827876568, 10: 0.00820105229563469, 11: 0.007567897660545699, 12: -0.008298},
        {0: 0.03183464816350214, 5: 0.028300909672366776, 6: 0.053541988307438566, 7: -0.05492374857139099,
         10: -0.00010834732869724932, 11: 0.0003825710908356584, 12: -0.00034046500868740456,
         13: 0.1413124436746325},
        {0: -0.42889630158379194, 5: -4.697621415361164, 6: 7.683421196062599, 7: 4.06898981839711,
         8: 0.3567271874552811, 12: -0.0013990241651590145, 13: 2.9475147891527724, 14: -9.15095847217987},
    ),
    errors=(
        {0: 0.01312004499419488, 5: -1.2251564463762044, 6: -0.4957589496572502, 7: 1.6643771824549864,
         8: -0.35032884874997366, 9: 0.3341791187130175, 10: 0.08192320648511571, 11: -0.022355307863886294},
        {**_B8, 0: _B8[0] - 0.244094488188976377952755905512, 8: _B8[8] - 0.733846688281611857341361741547,
         11: _B8[11] - 0.220588235294117647058823529412e-1},
    ),
    dense=(
        {0: -8.428938276109013, 5: 0.5667149535193777, 6: -3.0689499459498917, 7: 2.38466765651207,
         8: 2.117034582445028, 9: -0.871391583777973, 10: 2.2404374302607883, 11: 0.6315787787694688,
         12: -0.08899033645133331, 13: 18.148505520854727, 14: -9.194632392478356, 15: -4.436036387594894},
        {0: 10.427508642579134, 5: 242.28349177525817, 6: 165.20045171727028, 7: -374.5467547226902,
         8: -22.113666853125306, 9: 7.733432668472264, 10: -30.674084731089398, 11: -9.332130526430229,
         12: 15.697238121770845, 13: -31.139403219565178, 14: -9.35292435884448, 15: 35.81684148639408},
        {0: 19.985053242002433, 5: -387.0373087493518, 6: -189.17813819516758, 7: 527.8081592054236,
         8: -11.57390253995963, 9: 6.8812326946963, 10: -1.0006050966910838, 11: 0.7777137798053443,
         12: -2.778205752353508, 13: -60.19669523126412, 14: 84.32040550667716, 15: 11.99229113618279},
        {0: -25.69393346270375, 5: -154.18974869023643, 6: -231.5293791760455, 7: 357.6391179106141,
         8: 93.40532418362432, 9: -37.45832313645163, 10: 104.0996495089623, 11: 29.8402934266605,
         12: -43.53345659001114, 13: 96.32455395918828, 14: -39.17726167561544, 15: -149.72683625798564},
    ),
    stability=6.1,
)  # fmt: skip

_GAMMA = 1 / 4
_B4 = {0: 82889 / 524892, 2: 15625 / 83664, 3: 69875 / 102672, 4: -2260 / 8211, 5: _GAMMA}

ESDIRK4 = EmbeddedPair(
    name="Kennedy–Carpenter ESDIRK 4(3)",
    order=4,
    error_order=4,
    a=(
        {},
        {0: _GAMMA, 1: _GAMMA},
        {0: 8611 / 62500, 1: -1743 / 31250, 2: _GAMMA},
        {0: 5012029 / 34652500, 1: -654441 / 2922500, 2: 174375 / 388108, 3: _GAMMA},
        {
            0: 15267082809 / 155376265600,
            1: -71443401 / 120774400,
            2: 730878875 / 902184768,
            3: 2285395 / 8070912,
            4: _GAMMA,
        },
        _B4,
    ),
    additional=(),
    errors=(
        {
            0: _B4[0] - 4586570599 / 29645900160,
            2: _B4[2] - 178811875 / 945068544,
            3: _B4[3] - 814220225 / 1159782912,
            4: _B4[4] + 3700637 / 11593932,
            5: _B4[5] - 61727 / 225920,
        },
    ),
    dense=(),
    stability=float("inf"),
    diagonal=_GAMMA,
)
